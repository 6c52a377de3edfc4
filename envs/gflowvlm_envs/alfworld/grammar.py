"""A game's text grammar: parsed once, expanded without copies.

The same words as `textworld.envs.pddl.textgen` of textworld 1.7, which parses every template anew
each time it is used and copies the table of names for each of its symbols.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from textworld.envs.pddl import logic as pddl_logic  # pyright: ignore[reportMissingImports]
from textworld.envs.pddl import textgen  # pyright: ignore[reportMissingImports]
from textworld.envs.pddl.logic import model as nodes  # pyright: ignore[reportMissingImports]
from textworld.logic import (  # pyright: ignore[reportMissingImports]
    Proposition,
    Rule,
    TypeHierarchy,
)

from gflowvlm_envs.alfworld.expressions import compiled


@lru_cache(maxsize=4096)
def parsed(template: str) -> tuple[Any, ...]:
    """The symbols of a template; they are shared, never changed."""
    return tuple(textgen._parse_and_convert(template, rule_name="symbols"))


@lru_cache(maxsize=4096)
def parsed_query(query: str) -> Any:
    """A conjunction of facts with variables, as textworld's `Rule`."""
    return Rule.parse_conjunctive_query(query)


@dataclass(frozen=True)
class Context:
    """What a template may speak of."""

    state: Any  # textworld.logic.State
    entities: Mapping[str, Any]  # id -> EntityInfo
    values: Mapping[str, Any]  # name in the template -> EntityInfo
    mapping: Mapping[Any, Any]  # Placeholder -> Variable, the same in textworld's terms

    def bindings(self, query: str) -> Iterator["Context"]:
        """One context for each way to make the query true, in textworld's order."""
        rule = parsed_query(query)
        if all(placeholder in self.mapping for placeholder in rule.placeholders):
            if self._all_true(rule):
                yield self
            return
        for mapping in self.state.all_assignments(rule, self.mapping):
            values = {each.name: self.entities[found.name] for each, found in mapping.items()}
            yield Context(self.state, self.entities, {**self.values, **values}, mapping)

    def _all_true(self, rule: Any) -> bool:
        """Whether a query without unknowns holds: a lookup, where the search would try them all."""
        return all(
            self.state.is_fact(
                Proposition(each.name, [self.mapping[p] for p in each.parameters]),
            )
            for each in rule.preconditions
        )


class Grammar:
    """Expands templates; `rules` maps a symbol to its (condition, template) in order."""

    def __init__(self, rules: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """A rule with an empty condition always applies."""
        self._rules = rules

    def derive(self, template: str, context: Context) -> str:
        """The text of a template.

        Raises:
            ValueError: a symbol that the grammar does not know or cannot expand here.
        """
        return "".join(self._expand(parsed(template), context))

    def _expand(self, symbols: Sequence[Any], context: Context) -> Iterator[str]:
        for symbol in symbols:
            if isinstance(symbol, textgen.TerminalSymbol):
                yield str(symbol.symbol)
            elif isinstance(symbol, textgen.EvalSymbol):
                yield str(compiled(symbol.expression)(context.values))
            elif isinstance(symbol, textgen.NonterminalSymbol):
                yield from self._expand(self._chosen(str(symbol.symbol), context), context)
            elif isinstance(symbol, textgen.ConditionalSymbol):
                yield from self._expand_each(symbol, context)
            else:
                yield self._listed(list(self._expand_each(symbol.symbol, context)), context)

    def _expand_each(self, symbol: Any, context: Context) -> Iterator[str]:
        """One text for each binding of what follows the bar; one text where nothing does."""
        for bound in context.bindings(symbol.given) if symbol.given else (context,):
            yield "".join(self._expand((symbol.expression,), bound))

    def _listed(self, texts: Sequence[str], context: Context) -> str:
        if not texts:
            return self.derive("#list_empty#", context)
        if len(texts) == 1:
            return texts[0]
        separator = self.derive("#list_separator#", context)
        last = self.derive("#list_last_separator#", context)
        return separator.join(texts[:-1]) + last + texts[-1]

    def _chosen(self, symbol: str, context: Context) -> tuple[Any, ...]:
        """The symbols of the first rule that applies."""
        for condition, template in self._rules.get(symbol, ()):
            if not condition or any(True for _ in context.bindings(condition)):
                return parsed(template)
        raise ValueError(
            f"found no rule for #{symbol}# in the game's grammar, expected one that applies: take "
            "a game made for this alfworld"
        )


class Logic:
    """What textworld's `GameLogic` offers, with the grammar of this module."""

    def __init__(self, domain: str, text: str) -> None:
        """Of a PDDL domain and of what a game file calls its grammar."""
        self.domain = domain
        self.types = TypeHierarchy()
        found = _TASK.search(text)
        shared = text if found is None else text[: found.start()] + text[found.end() :]
        self.actions, rules = _parsed_document(shared)
        own = {} if found is None else {"task": [("", json.loads(found["sentence"]))]}
        self.grammar = Grammar({**rules, **own})


_TASK = re.compile(r'"task": *\[\s*\{\s*"rhs": *(?P<sentence>"(?:[^"\\]|\\.)*")\s*\}\s*\],')
"""The rule that tells a game's task: all else is the same in all games, and long to parse."""


class _Converter(pddl_logic._ModelConverter):
    """Gathers actions and rules, and leaves the templates as they are written."""

    def walk_PddlDocumentNode(self, node: Any) -> Any:
        actions, rules = {}, {}
        for part in node.parts:
            if isinstance(part, nodes.ActionTypeNode):
                action = self.walk(part)
                actions[action.name.lower()] = action
                lines = action.grammar.split("\n")
                rules |= json.loads("\n".join(x for x in lines if not x.lstrip().startswith("#")))
            elif isinstance(part, nodes.ActionGrammarNode):
                rules |= json.loads(self._unescape_block(part.code))
        return actions, rules


@lru_cache(maxsize=8)
def _parsed_document(text: str) -> tuple[Mapping[str, Any], Mapping[str, list[tuple[str, str]]]]:
    tree = pddl_logic._PARSER.parse(text, rule_name="pddlStart")
    actions, rules = _Converter().walk(tree)
    return actions, {
        symbol: [(rule.get("condition", ""), rule["rhs"]) for rule in choices]
        for symbol, choices in rules.items()
    }
