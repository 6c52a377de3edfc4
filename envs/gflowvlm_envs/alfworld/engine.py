"""One ALFWorld game at a time, on textworld's PDDL state: any game at each load, and quickly.

Says and offers to the letter what `textworld.envs.PddlEnv` with alfworld's demangler does, in about
a tenth of the time: the game is translated once, templates are parsed once, and nothing is copied.
"""

import gc
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from zlib import compress, decompress

import fast_downward  # pyright: ignore[reportMissingImports]
from alfworld.agents.utils.misc import Demangler  # pyright: ignore[reportMissingImports]
from mementos import core as mementos  # pyright: ignore[reportMissingImports]
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

from gflowvlm_envs.alfworld.games import read_game
from gflowvlm_envs.alfworld.grammar import Context, Logic
from gflowvlm_envs.alfworld.move import Move

NOTHING = "Nothing happens."
_idle: list[Any] = []
"""Libraries without an engine. They are never unloaded: to load one after that crashes."""


class Engine:
    """Plays one game at a time; several engines do not disturb each other.

    After `load` and `reset`: `moves` are what may be done, in the order of their commands.
    """

    def __init__(self) -> None:
        """Loads a copy of the planner's library, which holds one game's state."""
        self._library: Any = _idle.pop() if _idle else fast_downward.load_lib()
        self.names: Mapping[str, str] = {}
        """What the player calls each entity, by its id."""
        self.kinds: Mapping[str, str] = {}
        """PDDL type of each entity: agent, location, receptacle, object, rtype or otype."""
        self.moves: tuple[Move, ...] = ()
        self.won = False

    def close(self) -> None:
        """Leave the library to the next engine of this process."""
        if self._library is not None:
            _idle.append(self._library)
            self._library = None

    def load(self, game: Path | Mapping[str, Any]) -> None:
        """Choose the game that `reset` starts: a file, or what it holds.

        Raises:
            ValueError: the file is no game, or one that this engine cannot play.
        """
        path, data = ("game", game) if isinstance(game, Mapping) else (game, read_game(game))
        self.problem: str = data["pddl_problem"]
        mementos._memento_cache.clear()  # where textworld keeps each fact of each game for ever
        try:
            self._logic = Logic(data["pddl_domain"], data["grammar"])
            self._state = _State(self._library, self.problem, self._logic)
        except (Exception, SystemExit) as error:  # parsers of two packages, each with its own
            raise ValueError(
                f"{path}: the game cannot be read ({_first_line(error)}); make or download it again"
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
        self._state.apply(cast(Any, move))  # of an action its number alone is read
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
        self.translation = translated(logic.domain, problem)
        self.name2type = self.translation.kinds
        if not len(logic.types):
            for kind, above in self.translation.types.items():
                logic.types.add(Type(kind, above))
        library.load_sas(decompress(self.translation.sas))
        self.add_facts(pickle.loads(decompress(self.translation.facts)))
        atoms = (Atom * library.get_state_size())()
        library.get_state(atoms)
        found = (atom.get_fact(self.name2type) for atom in atoms)
        self.add_facts(fact for fact in found if not fact.is_negation)

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
            # the translator appends parameters of its own, which have no argument
            places = list(zip(self.translation.parameters[verb], arguments, strict=False))
            action = self._logic.actions[verb]
            yield Move(
                id=each.id,
                action=verb,
                arguments={place.name: argument for place, argument in places},
                template=action.template,
                feedback=action.feedback_rule,
                mapping={place: Variable(argument, place.type) for place, argument in places},
            )


@dataclass(frozen=True, kw_only=True)
class Translation:
    """What is needed of a game that the planner has translated."""

    sas: bytes  # the planner's text, compressed: a tenth of a megabyte at most
    facts: bytes  # Propositions that hold at first, pickled and compressed: some 10 kilobytes
    kinds: Mapping[str, str]  # entity -> type
    types: Mapping[str, Sequence[str]]  # type -> types above it
    parameters: Mapping[str, tuple[Any, ...]]  # action -> Placeholders


@lru_cache(maxsize=4096)
def translated(domain: str, problem: str) -> Translation:
    """A game in the planner's terms: a third of a second, so that all of ALFWorld's are kept."""
    to_sas: Callable[..., Any] = fast_downward.pddl2sas  # gives two values, declares one
    with _undisturbed():
        task, sas = to_sas(domain, problem, verbose=False)
    types: dict[str, Sequence[str]] = {}
    for each in task.types:  # the domain names `object` once more: the first is the root
        types.setdefault(each.name, tuple(each.supertype_names))
    kinds = {each.name: each.type_name for each in task.objects}
    translator: Any = fast_downward.translate  # its modules are found on its own path
    atom_class = translator.pddl.conditions.Atom  # what else is there are costs
    atoms = [each for each in task.init if isinstance(each, atom_class) and each.predicate != "="]
    facts = tuple(
        Proposition(each.predicate, [Variable(name, kinds[name]) for name in each.args])
        for each in atoms
    )
    return Translation(
        sas=compress(sas.encode("utf-8"), level=1),
        facts=compress(pickle.dumps(facts), level=1),
        kinds=kinds,
        types=types,
        parameters={
            action.name: tuple(
                Placeholder(p.name.strip("?"), p.type_name) for p in action.parameters
            )
            for action in task.actions
        },
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps `sys.argv`, which the translator overwrites, and its many small objects from the gc."""
    arguments, collects = sys.argv, gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        sys.argv = arguments
        if collects:
            gc.enable()


def _entity(name: str, kind: str) -> Any:
    info = cast(Any, EntityInfo(name, kind))
    info.name, info.definite, info.indefinite = name, "the", "a"
    return info


def _first_line(error: BaseException) -> str:
    said = str(error).strip().split("\n", 1)[0][:120]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
