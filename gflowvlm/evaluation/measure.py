"""Play fixed, held-out games with a policy and say how it did, beside chance and the optimum."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from gflowvlm.episode import Episode
from gflowvlm.evaluation import metrics
from gflowvlm.evaluation.coverage import Coverage, coverage
from gflowvlm.evaluation.references import NOBODY, Reference, References
from gflowvlm.evaluation.share import Share, share_of
from gflowvlm.evaluation.starts import ByStart, by_start, pass_name, powers_up_to
from gflowvlm.evaluation.task_types import ByType, by_task_type, macro_reach, types_from_dict
from gflowvlm.exact.play import Rates, chance, optimum
from gflowvlm.policy.base import Policy
from gflowvlm.processes import ALONE, Processes
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.plan import Plan, plan_groups


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One policy on one split, sampled at the policy's own temperature."""

    split: str
    episodes: int
    samples_per_start: int
    seed: int
    temperature: float
    reach: Share  # goal within the limit
    strict: Share  # goal with a positive return; on NumberLine: no wasted step
    right_moves: float | None
    reading: float | None  # replies that state every fact rightly
    diversity: float | None  # Div@samples_per_start
    invalid_replies: float
    cut: int  # games that the context could not hold; they count as failures
    length: float  # decisions a game
    reply_tokens: float
    chance: Rates | None  # None where the environment cannot be enumerated
    optimum: Rates | None
    coverage: Coverage | None = None  # where the environment knows its solutions
    sampler: Rates | None = None  # what sampling the run's target exactly wins, where known
    pass_at: dict[str, float] = field(default_factory=dict)  # "pass@4" -> share, see metrics
    reply_entropy: float | None = None  # nats a reply, estimated; None in files of before
    by_start: ByStart = field(default_factory=dict)  # what the means over starts are means of
    by_type: ByType = field(default_factory=dict)  # where the environment says the kind of task
    macro_reach: Share | None = None  # mean over those kinds; `reach` is over the games
    references: dict[str, Reference] = field(default_factory=dict)  # "chance", "expert": played
    path_ratio: float | None = None  # actions of a won game over the expert's from its start
    shortened_prompts: float = 0.0  # share of prompts that left earlier steps out

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        parts: dict[str, Any] = {name: Share(**values[name]) for name in ("reach", "strict")}
        for name in ("chance", "optimum", "sampler"):
            found = values.get(name)  # files of earlier versions know of no sampler
            parts[name] = None if found is None else Rates(**found)
        found = values.get("coverage")  # nor of any coverage
        parts["coverage"] = None if found is None else Coverage(**found)
        parts["by_type"] = types_from_dict(values.get("by_type", {}))
        parts["macro_reach"] = macro_reach(parts["by_type"])  # files of before hold no interval
        played = values.get("references", {})
        parts["references"] = {name: Reference.from_dict(each) for name, each in played.items()}
        return cls(**{**values, **parts})


def measure(
    policy: Policy,
    collector: Collector,
    *,
    episodes: int,
    samples_per_start: int,
    temperature: float,
    sampler: Rates | None = None,
    references: References = NOBODY,
    processes: Processes = ALONE,
) -> Measurement:
    """Play `episodes` games, rounded up to whole starts; equal seeds give equal starts.

    Each process plays its share of them, and all get the measurement of all.
    The seeds' stream is the split's own ("evaluate/id"), disjoint from training's. `references`
    are others' games from the same starts, see `play_references`.
    """
    played = play_games(policy, collector, episodes, samples_per_start, processes)
    game = enumerable(collector)
    lowest, highest = (None, None) if game is None else (chance(game), optimum(game))
    found = coverage(played, collector.make)
    types = by_task_type(played)
    return Measurement(
        split=collector.split,
        episodes=len(played),
        samples_per_start=samples_per_start,
        seed=collector.run_seed,
        temperature=temperature,
        reach=share_of(played, metrics.reach(played)),
        strict=share_of(played, metrics.strict(played)),
        right_moves=metrics.right_moves(played),
        reading=metrics.reading_accuracy(played),
        diversity=metrics.diversity(played),
        invalid_replies=metrics.invalid_replies(played),
        cut=metrics.cut(played),
        length=metrics.mean_length(played),
        reply_tokens=metrics.mean_reply_tokens(played),
        chance=lowest,
        optimum=highest,
        coverage=found,
        sampler=sampler,
        pass_at={pass_name(k): metrics.pass_at(played, k) for k in powers_up_to(samples_per_start)},
        reply_entropy=metrics.reply_entropy(played),
        by_start=by_start(played, collector.make, covered=found is not None),
        by_type=types,
        macro_reach=macro_reach(types),
        references={name: Reference.of(games) for name, games in references.items()},
        shortened_prompts=metrics.shortened_prompts(played),
        path_ratio=metrics.path_ratio(played, references.get("expert", ())),
    )


def play_games(
    policy: Policy,
    collector: Collector,
    episodes: int,
    samples_per_start: int,
    processes: Processes = ALONE,
) -> list[Episode]:
    """The games of all processes, without their images; see `measure`."""
    plans = evaluation_plans(collector, episodes, samples_per_start)
    own = collector.collect(policy, processes.deal(plans))
    everyones = processes.gather([p.episode.without_images() for p in own])
    return [episode for part in everyones for episode in part]


def evaluation_plans(collector: Collector, episodes: int, samples_per_start: int) -> list[Plan]:
    """The games that a policy is measured by; see `measure`."""
    return plan_groups(
        collector.run_seed,
        f"evaluate/{collector.split}",
        first_group=0,
        groups=-(-episodes // samples_per_start),
        group_size=samples_per_start,
    )


def enumerable(collector: Collector) -> Any:
    """The collector's environment, None where it cannot be enumerated."""
    environment = collector.make()
    game: Any = environment.unwrapped
    environment.close()
    if not all(hasattr(game, name) for name in ("starts", "legal", "outcomes", "judge")):
        return None
    return game
