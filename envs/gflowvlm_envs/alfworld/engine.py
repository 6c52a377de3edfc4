"""One ALFWorld game at a time, on textworld's PDDL state: any game at each load, and quickly.

Says and offers to the letter what `textworld.envs.PddlEnv` with alfworld's demangler does, in about
a tenth of the time: the game is translated once, templates are parsed once, and nothing is copied.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import fast_downward  # pyright: ignore[reportMissingImports]
from alfworld.agents.utils.misc import Demangler  # pyright: ignore[reportMissingImports]
from textworld.envs.pddl.logic import Atom, PddlState  # pyright: ignore[reportMissingImports]
from textworld.generator.game import EntityInfo  # pyright: ignore[reportMissingImports]
from textworld.logic import (  # pyright: ignore[reportMissingImports]
    GameLogic,
    Placeholder,
    Proposition,
    State,
    Type,
    Variable,
)

from gflowvlm_envs.alfworld.grammar import Context, Logic
from gflowvlm_envs.alfworld.move import Move

NOTHING = "Nothing happens."
_KEYS = ("pddl_domain", "grammar", "pddl_problem")


class Engine:
    """Plays one game at a time; several engines do not disturb each other.

    After `load` and `reset`: `moves` are what may be done, in the order of their commands.
    """

    def __init__(self) -> None:
        """Loads a copy of the planner's library, which holds one game's state."""
        self._library: Any = fast_downward.load_lib()
        self.names: Mapping[str, str] = {}
        """What the player calls each entity, by its id."""
        self.kinds: Mapping[str, str] = {}
        """PDDL type of each entity: agent, location, receptacle, object, rtype or otype."""
        self.moves: tuple[Move, ...] = ()
        self.won = False

    def close(self) -> None:
        """Unload the library."""
        if self._library is not None:
            fast_downward.close_lib(self._library)
            self._library = None

    def load(self, game: Path | Mapping[str, Any]) -> None:
        """Choose the game that `reset` starts: a file, or what it holds.

        Raises:
            ValueError: the file is no game, or one that this engine cannot play.
        """
        path, data = ("game", game) if isinstance(game, Mapping) else (game, read_game(game))
        self.problem: str = data["pddl_problem"]
        try:
            self._logic = Logic(data["pddl_domain"], data["grammar"])
            self._state = _State(self._library, self.problem, self._logic)
        except (Exception, SystemExit) as error:  # parsers of two packages, each with its own
            raise ValueError(
                f"{path}: the game cannot be read ({type(error).__name__}: {_first_line(error)}); "
                "make or download it again"
            ) from error
        self._untouched = True
        found = {each.name: each.type for fact in self._state.facts for each in fact.arguments}
        self.kinds = found
        self._entities = {name: _entity(name, kind) for name, kind in found.items()}
        names = Demangler(game_infos=self._entities, shuffle=False)
        for entity in self._entities.values():
            entity.name = names.demangle_alfred_name(entity.id)
        self.names = {name: entity.name.strip() for name, entity in self._entities.items()}

    def reset(self) -> str:
        """Start the game anew and give the words that open it."""
        if not self._untouched:  # what `load` has built can be played once
            self._state = _State(self._library, self.problem, self._logic)
        self._untouched = False
        text = self._derive("#intro#", {})
        self._look()
        return text

    def step(self, command: str) -> str:
        """Do what a command says and give the engine's answer; anything else changes nothing."""
        command = command.strip()
        move = next((each for each in self.moves if each.command == command), None)
        if move is None:
            return NOTHING
        self._state.apply(move)
        text = self._derive(move.feedback, move.mapping)
        self._look()
        return text

    def facts(self, predicate: str) -> Iterator[tuple[str, ...]]:
        """Ids of the entities for which a predicate holds, whether the player knows or not."""
        for signature, facts in self._state._facts.items():
            if signature.name == predicate:
                yield from (fact.names for fact in facts)

    def _derive(self, template: str, mapping: Mapping[Any, Any]) -> str:
        values = {each.name: self._entities[found.name] for each, found in mapping.items()}
        return self._logic.grammar.derive(
            template, Context(self._state, self._entities, values, mapping)
        )

    def _look(self) -> None:
        """What can be done now, and whether the goal holds."""
        self.won = bool(self._state.check_goal())
        moves: dict[str, Move] = {}
        for operator in self._state.operators():
            command = self._derive(operator.template, operator.mapping)
            if "{" in command:  # as in `open {r}`, where an id stands for its name
                command = command.format(**{k: each.name for k, each in self._entities.items()})
            # of two ways to say the same, upstream takes the first
            moves.setdefault(command, operator.said(command))
        self.moves = tuple(moves[command] for command in sorted(moves))


class _State(PddlState):
    """textworld's state, from a translation that is kept."""

    def __init__(self, library: Any, problem: str, logic: Logic) -> None:
        """The first state of a problem; the library's own state starts anew with it."""
        State.__init__(self, GameLogic())
        self._logic = logic
        self.downward_lib = library
        self.pddl_problem = problem
        self.task, self.sas = translated(logic.domain, problem)
        self._actions = {action.name: action for action in self.task.actions}
        self.name2type = {each.name: each.type_name for each in self.task.objects}
        known = {each.name for each in logic.types}
        for each in self.task.types:  # `object` stands there twice: the domain has its own
            if each.name not in known:
                logic.types.add(Type(each.name, each.supertype_names))
                known.add(each.name)
        library.load_sas(self.sas.encode("utf-8"))
        self.add_facts(self._first_facts())

    def _first_facts(self) -> Iterator[Proposition]:
        for atom in self.task.init:
            # what else stands there are costs
            is_fact = isinstance(atom, fast_downward.translate.pddl.conditions.Atom)
            if is_fact and atom.predicate != "=":
                arguments = [Variable(each, self.name2type[each]) for each in atom.args]
                yield Proposition(atom.predicate, arguments)
        atoms = (Atom * self.downward_lib.get_state_size())()
        self.downward_lib.get_state(atoms)
        for atom in atoms:
            fact = atom.get_fact(self.name2type)
            if not fact.is_negation:
                yield fact

    def operators(self) -> Iterator[Move]:
        """What can be done, in the planner's order, without its command."""
        found = (fast_downward.Operator * self.downward_lib.get_applicable_operators_count())()
        self.downward_lib.get_applicable_operators(found)
        self._operators = {each.id: each for each in found}
        seen = set()
        for each in found:
            name = each.name
            if name in seen:
                continue
            seen.add(name)
            verb, *arguments = name.split()
            parameters = [(p.name.strip("?"), p.type_name) for p in self._actions[verb].parameters]
            action = self._logic.actions[verb]
            yield Move(
                id=each.id,
                action=verb,
                arguments={p: a for (p, _), a in zip(parameters, arguments, strict=False)},
                template=action.template,
                feedback=action.feedback_rule,
                mapping={
                    Placeholder(p, kind): Variable(a, kind)
                    for (p, kind), a in zip(parameters, arguments, strict=False)
                },
            )


def read_game(path: Path) -> dict[str, Any]:
    """The content of a `game.tw-pddl`.

    Raises:
        ValueError: it is missing, is no JSON, or lacks what a game needs.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{path}: found no game ({error.strerror}); name a game.tw-pddl"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: the game is cut off or no JSON; get it again") from error
    missing = [key for key in _KEYS if not isinstance(data, dict) or key not in data]
    if missing:
        raise ValueError(
            f"{path}: found a game without {', '.join(missing)}, expected one of alfworld 0.4 or "
            "newer: get the games of json_2.1.1 again"
        )
    return data


@lru_cache(maxsize=16)
def translated(domain: str, problem: str) -> tuple[Any, str]:
    """The planner's task and its text in SAS; kept, since a group plays one game several times."""
    with _arguments_kept():
        return fast_downward.pddl2sas(domain, problem, verbose=False)


@contextmanager
def _arguments_kept() -> Iterator[None]:
    """Upstream's translator overwrites `sys.argv`."""
    kept = sys.argv
    try:
        yield
    finally:
        sys.argv = kept


def _entity(name: str, kind: str) -> Any:
    info = EntityInfo(name, kind)
    info.name, info.definite, info.indefinite = name, "the", "a"
    return info


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:120]
