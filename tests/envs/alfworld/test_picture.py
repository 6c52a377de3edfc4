import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gflowvlm_envs.alfworld import picture
from gflowvlm_envs.alfworld.picture import Thing, Tile, View

Make = Callable[..., Any]


def drawn(env: Any) -> View:
    return picture.view_of(env._memory)


def named(name: str, text: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def things_of(view: View) -> list[Thing]:
    lying = [thing for tile in view.tiles for thing in tile.things or ()]
    return [*lying, view.held] if view.held else lying


def crowded(game: Path, folder: Path) -> Path:
    """The same game with all its receptacles in one of two places, as real drawers are stacked."""
    data = json.loads(game.read_text())
    places = re.findall(r"receptacleAtLocation \S+ (\S+)\)", data["pddl_problem"])
    for old in places:
        new = places[0] if len(old) % 2 else places[1]
        pattern = rf"((?:receptacle|object)AtLocation \S+) {old}\)"
        data["pddl_problem"] = re.sub(pattern, rf"\1 {new})", data["pddl_problem"])
    spot = folder / "game.tw-pddl"
    spot.write_text(json.dumps(data))
    return spot


@pytest.mark.parametrize("stacked", [False, True])
def test_no_object_is_drawn_that_the_text_has_not_named(
    make: Make, tmp_path: Path, stacked: bool
) -> None:
    env, rng, seen = make(), np.random.default_rng(0), 0
    for game in env.games.paths:
        chosen = crowded(game, tmp_path) if stacked else game
        for mistakes in (1.0, 0.2):  # nearly random, and nearly right
            env.close()
            _, info = env.reset(seed=int(rng.integers(100)), options={"game": chosen})
            told, ended = info["text"], False
            assert things_of(drawn(env)) == []
            while not ended:
                _, _, ended, _, info = env.step(env.expert(mistakes).action)
                told += "\n" + info["text"]
                things = things_of(drawn(env))
                seen += len(things)
                assert [t.name for t in things if not named(t.name, told)] == []
                check_marks(things, told)
                assert len({t.name for t in things}) == len(things)
                check_place(drawn(env), info["text"])
    assert seen > 200


def check_marks(things: list[Thing], told: str) -> None:
    """A mark has been told: by the deed, or by examining."""
    words = {
        "hot": "heat|hot",
        "cold": "cool|cold",
        "clean": "clean",
        "on": "turn on|on",
        "sliced": "sliced",
    }
    for thing in things:
        for mark in thing.marks:
            assert re.search(rf"({words[mark]})\b[^.\n]*\b{thing.name}\b", told), (thing, told)


def check_place(view: View, text: str) -> None:
    """What the text lists just now is what the tile shows, no more and no less."""
    listed = re.search(r"(?:On|In) (?:the )?(\w+ \d+|it), you see (.*?)\.$", text)
    if listed is None or text.startswith("This is"):  # an examined bowl says what it holds itself
        return
    here = view.here
    assert here is not None
    assert here.things is not None
    shown = {thing.name for thing in here.things}
    assert shown == set(re.findall(r"\ban? (\w+ \d+)", listed[2]))
    assert named(here.name, text)


def test_a_shut_door_hides_what_is_behind_it_but_not_what_is_remembered() -> None:
    tiles = (
        Tile("cabinet 1", False, None, True),
        Tile("cabinet 2", False, (Thing("mug 1", ()),), False),
    )
    assert picture._cells(tiles[0]) == [("?", picture.GREY)]
    assert picture._cells(tiles[1]) == [("mug 1", picture.BLACK)]


@pytest.mark.parametrize("size", [64, 100, 192, 336, 512])
def test_every_picture_tells_two_contents_apart(size: int) -> None:
    def view(*names: str, held: str | None = None) -> View:
        things = tuple(Thing(name, ()) for name in names)
        far = tuple(Tile(f"drawer {n}", None, None, False) for n in range(1, 30))
        hand = Thing(held, ("hot",)) if held else None
        return View((Tile("desk 1", None, things, True), *far), hand)

    pictures = [
        np.asarray(picture.draw(each, size))
        for each in (
            view("mug 1"),
            view("pen 1"),
            view("mug 1", held="pen 1"),
            view(),
            View((), None),
        )
    ]
    assert {each.shape for each in pictures} == {(size, size, 3)}
    for index, one in enumerate(pictures):
        for other in pictures[:index]:
            assert np.mean(np.any(one != other, axis=2)) > 0.005


def test_what_finds_no_room_is_counted() -> None:
    things = tuple(Thing(f"pen {n}", ()) for n in range(1, 10))
    view = View((Tile("desk 1", None, things, True),), None)
    fewer = View((Tile("desk 1", None, things[:-1], True),), None)
    assert np.any(np.asarray(picture.draw(view, 64)) != np.asarray(picture.draw(fewer, 64)))


@pytest.mark.parametrize("size", [192, 224, 336, 512])
def test_the_longest_name_of_a_receptacle_is_not_cut(size: int) -> None:
    tiles = [Tile(f"toiletpaperhanger {n}", None, None, False) for n in range(1, 13)]
    room = np.asarray(picture.draw(View(tuple(tiles), None), size))[: size // 20]
    assert np.any(room != picture.PAPER)
    for edge in (0, -1):
        assert np.all(room[:, edge] == picture.PAPER)
