from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply, Segment
from gflowvlm.evaluation import measure as measuring
from gflowvlm.evaluation.coverage import Coverage
from gflowvlm.evaluation.measure import Measurement, measure
from gflowvlm.evaluation.table import print_table, read_measured, renew, write_measured
from gflowvlm.rollouts.collect import Collector, Played
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import Plan


def episode(plan: Plan, image: Any, *, won: bool) -> Episode:
    seen = Observation(image=image, task="", text="", legal_actions=("-", "+"))
    reply = Reply(
        text="", token_ids=(1, 2), segment=(Segment.ACTION,) * 2, log_probs=(0.0, 0.0), action=1
    )
    return Episode(
        environment="x",
        split="id",
        seed=plan.seed,
        group=plan.group,
        index=plan.index,
        decisions=(Decision(observation=seen, reply=reply, reward=1.0 if won else -1.0),),
        ending=Ending.TERMINATED if won else Ending.TRUNCATED,
        success=won,
    )


class Fixed(Collector):
    """Wins the first game of each start, and is cut in the others."""

    def collect(self, policy: Any, plans: Any, **_: Any) -> list[Played]:
        return [Played(episode=episode(p, None, won=p.index % 2 == 0), rows=()) for p in plans]


@pytest.fixture
def measured() -> Measurement:
    collector = Fixed(
        make=partial(make_environment, "gflowvlm/NumberLine-v0", "id"),
        environment_id="gflowvlm/NumberLine-v0",
        split="id",
        run_seed=0,
        room_needed=1,
    )
    return measure(None, collector, episodes=7, samples_per_start=2, temperature=1.0)  # type: ignore[arg-type]


def test_starts_are_whole_and_cut_games_count_as_failures(measured: Measurement) -> None:
    assert measured.episodes == 8  # 7 rounded up to four starts of two
    assert measured.cut == 4
    assert measured.reach.value == measured.strict.value == 0.5
    # Wilson, 4 of 8 at 1.96: centre 1/2, half width 1.96 * sqrt(8/4 + 1.96^2/4) / (8 + 1.96^2)
    assert measured.reach.low == pytest.approx(0.5 - 0.2848, abs=1e-4)
    assert measured.diversity == 1.0
    assert measured.reply_tokens == 2.0


def test_chance_and_optimum_are_computed_from_the_environment(measured: Measurement) -> None:
    assert measured.chance is not None
    assert measured.optimum is not None
    assert measured.chance.strict == pytest.approx(0.26875)
    assert measured.optimum.strict == 1.0


def test_an_environment_that_cannot_be_enumerated_has_neither() -> None:
    collector = Fixed(
        make=partial(make_environment, "CartPole-v1"),
        environment_id="CartPole-v1",
        split="id",
        run_seed=0,
        room_needed=1,
    )
    assert measuring.enumerable(collector) is None


def test_coverage_stands_in_the_file_and_the_table_where_solutions_are_known(
    measured: Measurement, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured.coverage is None  # of the number line
    found = Coverage(
        solutions=0.123,
        classes=0.456,
        all_solutions=0.0,
        all_classes=0.25,
        diversity=1.75,
        best_solutions=0.321,
        best_classes=0.654,
    )
    path = write_measured(tmp_path / "figures.json", {"after": [replace(measured, coverage=found)]})
    (back,) = read_measured(path)["after"]
    assert back.coverage == found
    print_table({"before": [measured], "after": [back]})
    shown = capsys.readouterr().out
    for words in ("solutions found", "12.3%", "32.1%", "45.6%", "65.4%", "25.0%", "1.75"):
        assert words in shown
    print_table({"after": [measured]})
    assert "solutions" not in capsys.readouterr().out


def test_figures_come_back_from_their_file_and_show_in_the_table(
    measured: Measurement, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_measured(tmp_path / "figures.json", {"before": [measured], "after": [measured]})
    assert read_measured(path) == {"before": [measured], "after": [measured]}
    assert read_measured(tmp_path / "missing.json") == {}
    print_table(read_measured(path))
    other, again = replace(measured, split="ood"), replace(measured, seed=7)
    renew(path, {"after": [other]})  # what was not measured anew stays
    renew(path, {"after": [again]})
    assert read_measured(path) == {"before": [measured], "after": [other, again]}
    shown = capsys.readouterr().out
    for word in ("before", "after", "chance", "26.9%", "100.0%", "Div@2"):
        assert word in shown
