import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gflowvlm.config.training import TrackerName
from gflowvlm.errors import UserError
from gflowvlm.trainer.tracking import Tracker, read_metrics, require_trackers


def test_each_line_is_on_disk_at_once(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        tracker.log(1, {"loss": 0.5})
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.5}\n'


def test_numbers_that_are_not_finite_stay_valid_json(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        tracker.log(1, {"loss": float("nan"), "best": float("-inf")})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line) == {"step": 1, "loss": "nan", "best": "-inf"}
    assert read_metrics(tmp_path)[0]["best"] == float("-inf")


def test_resuming_drops_what_was_logged_beyond_the_checkpoint(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        for step in (1, 2, 3, 4):
            tracker.log(step, {"loss": float(step)})
    with Tracker(tmp_path, resumed_step=2) as tracker:
        tracker.log(3, {"loss": 30.0})
    assert read_metrics(tmp_path) == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 2.0},
        {"step": 3, "loss": 30.0},
    ]


def test_a_line_torn_by_a_crash_is_dropped(tmp_path: Path) -> None:
    torn = '{"step": 1, "loss": 1.0}\n{"step": 2, "lo'
    (tmp_path / "metrics.jsonl").write_text(torn)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1]
    with Tracker(tmp_path, resumed_step=2) as tracker:
        tracker.log(2, {"loss": 2.0})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]


def test_a_fresh_run_has_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_tensorboard_shows_the_same_numbers(tmp_path: Path) -> None:
    with Tracker(tmp_path, trackers=["tensorboard"]) as tracker:
        tracker.log(1, {"loss": 0.5})
        tracker.log(2, {"loss": 0.25})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]


class Experiments(ModuleType):
    """Stands for wandb and for trackio; remembers what reaches it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.begun: list[dict[str, Any]] = []
        self.seen: dict[str, Any] = {}
        self.config = SimpleNamespace(update=lambda values, **_: self.seen.update(values))
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0
        self.Error = ConnectionError
        self.known = True

    def login(self) -> None:
        if not self.known:
            raise self.Error("No API key configured.\nUse `wandb login`.")

    def init(self, **options: Any) -> "Experiments":
        self.begun.append(options)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_resumed_run_goes_on_in_the_same_experiment(
    name: TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Experiments(name)
    monkeypatch.setitem(sys.modules, name, there)
    require_trackers([name])
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        with Tracker(tmp_path / run, trackers=[name], settings={"seed": 3}) as tracker:
            tracker.log(1, {"loss": 0.5})
    with Tracker(tmp_path / "one", trackers=[name], resumed_step=1) as tracker:
        tracker.log(2, {"loss": 0.25})
    identities = [options.get("id", options["name"]) for options in there.begun]
    assert identities[0] == identities[2] != identities[1]
    assert {options["project"] for options in there.begun} == {"gflowvlm"}
    assert [step for step, _ in there.logged] == [1, 1, 2]
    assert (there.finished, there.seen) == (3, {"seed": 3})
    assert read_metrics(tmp_path / "one")[1] == {"step": 2, "loss": 0.25}


def test_a_tracker_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gflowvlm.trainer.tracking.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"found wandb.*pip install 'gflowvlm\[wandb\]'"):
        require_trackers(["wandb"])


def test_an_experiment_tracker_without_an_account_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Experiments("wandb")
    there.known = False
    monkeypatch.setitem(sys.modules, "wandb", there)
    with pytest.raises(UserError, match=r"No API key .* WANDB_MODE=offline") as caught:
        require_trackers(["wandb"])
    assert "\n" not in str(caught.value)
