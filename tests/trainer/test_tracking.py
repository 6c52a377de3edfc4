import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gflowvlm.trainer.tracking import Tracker, read_metrics


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
