"""These tests play real games: without `alfworld` each of them fails and says so in one line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gflowvlm_envs.alfworld.games import LAYOUT, require_packages
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
