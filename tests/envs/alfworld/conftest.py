"""These tests play real games: without `alfworld` each of them fails and says so in one line."""

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from gflowvlm_envs.alfworld import simulator
from gflowvlm_envs.alfworld.games import FOLDERS, LAYOUT, require_packages
from gflowvlm_envs.alfworld.generate import generate

TRAIN, SEEN, UNSEEN = 6, 2, 6


@pytest.fixture(scope="session", autouse=True)
def _packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # alfworld makes this folder when it is imported: not in the home of who runs the tests
        patch.setenv("ALFWORLD_DATA", str(tmp_path_factory.mktemp("alfworld_data")))
        if lack := _lack():
            pytest.fail(lack, pytrace=False)
        yield


def _lack() -> str | None:
    try:
        require_packages()
    except ValueError as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated games of all types: 6 for training, 2 seen, 6 unseen."""
    output = tmp_path_factory.mktemp("alfworld") / "games"
    generate(output, train=TRAIN, seen=SEEN, unseen=UNSEEN, seed=3, report=lambda line: None)
    return output


@pytest.fixture(scope="session")
def games(data: Path) -> list[Path]:
    """All game files."""
    found = sorted((data / LAYOUT).rglob("game.tw-pddl"))
    assert len(found) == TRAIN + SEEN + UNSEEN
    return found


@pytest.fixture
def make(data: Path) -> Iterator[Callable[..., Any]]:
    """Builds environments on the generated games and closes them."""
    from gflowvlm_envs.alfworld.environment import ALFWorld

    built: list[ALFWorld] = []

    def build(**arguments: Any) -> ALFWorld:
        built.append(ALFWorld(**{"data": data, "image_size": 64, **arguments}))
        return built[-1]

    yield build
    for each in built:
        each.close()


SCENE = 329  # a bedroom of five places
DRAWER = "Drawer|+01.00|+00.17|-02.39"
BOOK = "Book|+01.00|+00.20|-02.39"


class Controller:
    """One room, one book: what ai2thor.controller.Controller would say of it."""

    ORANGE: ClassVar = (200, 100, 50)
    running: ClassVar[list["Controller"]] = []
    fails: ClassVar[dict[str, Exception]] = {}  # action -> what is raised instead
    sleeps: ClassVar[dict[str, float]] = {}  # action -> seconds

    def __init__(self, quality: str = "Ultra", fullscreen: bool = False, headless: bool = False):
        import alfworld.gen  # pyright: ignore

        layouts = Path(alfworld.gen.__path__[0]) / "layouts"
        self.points = json.loads((layouts / f"FloorPlan{SCENE}-openable.json").read_text())
        self.at = self.inside = ""

    def start(
        self,
        port: int = 0,
        start_unity: bool = True,
        player_screen_width: int = 300,
        player_screen_height: int = 300,
        x_display: str | None = None,
    ) -> Any:
        if failure := self.fails.get("start"):
            raise failure
        assert min(player_screen_width, player_screen_height) >= 300  # as Unity asks for
        self.running.append(self)
        return self.shown(True)

    def reset(self, scene_name: str | None = None) -> Any:
        assert scene_name == f"FloorPlan{SCENE}"
        self.at, self.inside, self.opened = "", "", set()
        return self.shown(True)

    def step(self, action: dict[str, Any], raise_for_failure: bool = False) -> Any:
        name = action["action"]
        failure = self.fails.get(name)
        time.sleep(self.sleeps.get(name, 0))
        if failure:
            raise failure
        if name == "SetObjectPoses":
            self.inside = action["objectPoses"][0]["in"]
        elif name == "TeleportFull":
            spot = (action["x"], action["z"])
            self.at = next(each for each, at in self.points.items() if (*at[:2],) == spot)
        elif name == "OpenObject":
            self.opened.add(action["objectId"])
        elif name == "CloseObject":
            self.opened.discard(action["objectId"])
        elif name == "PickupObject":
            self.inside = "hand"
        elif name == "PutObject":
            self.inside = action["receptacleObjectId"]
        return self.shown(name != "PutObject" or action["objectId"] == BOOK)

    def stop(self) -> None:
        self.running.remove(self)

    def shown(self, success: bool) -> Any:
        """The event after a step: every place and thing that is seen has a colour."""
        held = self.inside == "hand"
        open_here = "Drawer" not in self.at or self.at in self.opened
        seen = [self.at, *([BOOK] if held or (open_here and self.inside == self.at) else [])]
        colours = {(1, 0, each): name for each, name in enumerate(seen) if name}
        segments = np.zeros((4, 4, 3), dtype=np.uint8)
        for row, colour in enumerate(colours):
            segments[row] = colour
        places = [
            self.thing(each, receptacleObjectIds=[BOOK] if each == self.inside else [])
            for each in self.points
        ]
        parents = None if held else [self.inside]
        book = self.thing(BOOK, receptacle=False, pickupable=True, parentReceptacles=parents)
        metadata = {
            "agent": {"position": {"x": 0.0, "y": 0.9, "z": 0.0}},
            "inventoryObjects": [{"objectId": BOOK, "objectType": "Book"}] if held else [],
            "lastActionSuccess": success,
            "objects": [*places, book],
        }
        frame = np.full((300, 300, 3), self.ORANGE, dtype=np.uint8)
        frame[:, :150] //= 1 + len(seen)
        self.last_event = SimpleNamespace(
            metadata=metadata,
            frame=frame,
            instance_segmentation_frame=segments,
            color_to_object_id=colours,
        )
        return self.last_event

    def thing(self, name: str, **more: Any) -> dict[str, Any]:
        kind = {"objectId": name, "objectType": name.partition("|")[0], "visible": True}
        nothing = {"parentReceptacles": None, "receptacleObjectIds": None}
        return {**kind, **nothing, "receptacle": True, "pickupable": False, **more}


@pytest.fixture
def controller() -> type[Controller]:
    return Controller


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Controller]]:
    """alfworld finds the stand-in where it would import ai2thor; `cv2` draws nothing here."""
    for name in ("ai2thor", "ai2thor.controller", "cv2"):
        module: Any = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys.modules["ai2thor.controller"], "Controller", Controller, raising=False)
    monkeypatch.setattr(simulator, "display_problem", lambda: None)
    # a map of the floor for upstream's shaped reward, which nobody asks for: a second a reset
    graph = importlib.import_module("alfworld.gen.graph.graph_obj")
    monkeypatch.setattr(graph, "Graph", lambda **settings: None)
    for each in ("running", "fails", "sleeps"):
        monkeypatch.setattr(Controller, each, type(getattr(Controller, each))())
    yield Controller
    assert not Controller.running  # every Unity process has been stopped


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data as the official: in each split two games of one room, with its scene."""
    parameters = {"object_target": "Book", "parent_target": "Bed", "object_sliced": False}
    scene = {
        "floor_plan": f"FloorPlan{SCENE}",
        "scene_num": SCENE,
        "object_poses": [{"objectName": "Book", "in": DRAWER}],
        "dirty_and_empty": False,
        "object_toggles": [],
        "init_action": {"action": "Pass"},
    }
    story = {
        "task_type": "pick_and_place_simple",
        "pddl_params": {**parameters, "toggle_target": "", "mrecep_target": ""},
        "scene": scene,
        "plan": {"high_pddl": [], "low_actions": []},
    }
    for folder in FOLDERS.values():
        for trial in ("trial_1", "trial_2"):
            at = tmp_path / LAYOUT / folder / f"pick_and_place_simple-Book-None-Bed-{SCENE}" / trial
            at.mkdir(parents=True)
            (at / "game.tw-pddl").write_text('{"solvable": true}')
            (at / "traj_data.json").write_text(json.dumps(story))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    return tmp_path
