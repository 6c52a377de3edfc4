"""A household in the words of ALFWorld's PDDL domain."""

import random
from collections.abc import Iterator

from gflowvlm_envs.alfworld.household import LAMP, Household, Thing
from gflowvlm_envs.alfworld.rooms import affordances, holdable
from gflowvlm_envs.alfworld.world import TASKS

_KNIVES = ("ButterKnife", "Knife")  # these kinds the domain itself speaks of
_STATIONS = ("Fridge", "Microwave", "SinkBasin")
_ABILITIES = ("Cleanable", "Coolable", "Heatable", "Sliceable")
_MANGLED = {"-": "_minus_", "|": "_bar_", "+": "_plus_", ".": "_dot_", ",": "_comma_"}


def problem_of(household: Household, name: str) -> str:
    """The text of a PDDL problem, written as alfworld writes its own."""
    objects = "\n        ".join(_objects(household))
    facts = "\n        ".join(f"({fact})" for fact in _facts(household))
    goal = _template(household)["pddl"].format(mrecep="", **_words(household))
    return (
        f"(define (problem plan_{name})\n(:domain alfred)\n(:objects\n        {objects}\n)\n"
        f"(:init\n        {facts}\n)\n{goal.replace('#', '-')}"
    )


def sentence_of(household: Household, draw: random.Random) -> str:
    """The task as a sentence, one of alfworld's templates."""
    words = {key: word.lower() for key, word in _words(household).items()}
    return draw.choice(_template(household)["templates"]).format(mrecep="", **words)


def parameters_of(household: Household) -> dict[str, object]:
    """ALFRED's `pddl_params`."""
    words = _words(household)
    return {
        "object_target": words["obj"],
        "parent_target": words["recep"],
        "toggle_target": words["toggle"],
        "mrecep_target": "",
        "object_sliced": False,
    }


def _template(household: Household) -> dict:
    from alfworld.gen.goal_library import gdict  # pyright: ignore[reportMissingImports]

    return gdict[household.task.type]


def _words(household: Household) -> dict[str, str]:
    task = household.task
    looks = task.type == TASKS[1]
    return {
        "obj": task.object,
        "recep": "" if looks else task.receptacle,
        "toggle": task.receptacle if looks else "",
    }


def _objects(household: Household) -> Iterator[str]:
    room = household.room
    yield "agent1 - agent"
    for kind in _object_kinds(household):
        yield f"{kind}Type - otype"
    for kind in sorted({*room.receptacle_kinds, *_STATIONS}):
        yield f"{kind}Type - rtype"
    for thing in household.things:
        yield f"{mangled(thing.id)} - object"
    for each in room.receptacles:
        yield f"{mangled(each.id)} - receptacle"
    for location in sorted({room.start, *(each.location for each in room.receptacles)}):
        yield f"{mangled(str(location))} - location"


def _facts(household: Household) -> Iterator[str]:
    room = household.room
    yield f"atLocation agent1 {mangled(str(room.start))}"
    for each in room.receptacles:
        name = mangled(each.id)
        yield f"receptacleType {name} {each.kind}Type"
        yield f"receptacleAtLocation {name} {mangled(str(each.location))}"
        if each.kind in affordances().OPENABLE_CLASS_SET:
            yield f"openable {name}"
    for kind in room.receptacle_kinds:
        for thing_kind in _object_kinds(household):
            if thing_kind in holdable(kind):
                yield f"canContain {kind}Type {thing_kind}Type"
    for thing in household.things:
        yield from _facts_of(thing)


def _facts_of(thing: Thing) -> Iterator[str]:
    name, inside = mangled(thing.id), thing.inside
    yield f"objectType {name} {thing.kind}Type"
    yield f"inReceptacle {name} {mangled(inside.id)}"
    yield f"objectAtLocation {name} {mangled(str(inside.location))}"
    yield f"{'toggleable' if thing.kind == LAMP else 'pickupable'} {name}"
    kinds = affordances().VAL_ACTION_OBJECTS
    for ability in _ABILITIES:
        if thing.kind in kinds[ability]:
            yield f"{ability.lower()} {name}"
    if thing.kind in affordances().MOVABLE_RECEPTACLES_SET:
        yield f"isReceptacleObject {name}"
    if inside.kind == "Fridge" and thing.kind in kinds["Coolable"]:
        yield f"isCool {name}"


def _object_kinds(household: Household) -> list[str]:
    return sorted({thing.kind for thing in household.things} | {*_KNIVES})


def mangled(name: str) -> str:
    """A name as PDDL can hold it; alfworld's demangler reads it back."""
    for character, word in _MANGLED.items():
        name = name.replace(character, word)
    return name
