"""Methods over seeds, side by side: what `comparison.json` holds.

{
  "name", "environment_steps", "seeds", "splits", "episodes", "samples_per_start": as asked for,
  "figures": {figure: {"label", "better": "higher" | "lower" | null, "unit": "share" | "number"}},
  "methods": {label: {
    "objective": its objective.type,
    "runs": [{"seed", "folder": relative to the file, "objective",
      "spent": {"episodes", "environment_steps", "gradient_steps", "wall_seconds", "cpu_seconds",
                "expert_games"},
      "splits": {split: {
        "values": {figure: number | null},  # this run's own
        "measurement": evaluation.measure.Measurement.as_dict(), per start in its "by_start",
        "exact": {"tv", "kl_to_target", "reach", ...} | {"reach": {"low", "high"}, ...} with a
          min_mass | {"refused": why} | null}}}],
    "spent": means over the runs,
    "aggregate": {split: {figure: {"value", "low", "high", "runs"}}}}},  # see aggregate.py
  "start": {"runs", "aggregate"} of the policy that all start from,
  "references": {split: {"chance" | "sampler" | "optimum": {figure: number}}},
    where none is exact {"chance, played" | "expert, played": means over all runs' starts}
  "best": {split: {figure: label | null}},  # null: nobody is ahead beyond noise
  "verdicts": [the same in words],
  "missing": {run: the last line of its log}
}

Splits include "all", every split a stratum, where there are several. Shares are 0 to 1, entropies
nats; figures that a method or split does not have are left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from statistics import fmean
from typing import Any
from zlib import crc32

import numpy as np

from gflowvlm.evaluation.aggregate import Array, Interval, Strata, interval, point, resampled
from gflowvlm.evaluation.measure import Measurement
from gflowvlm.evaluation.references import Reference
from gflowvlm.evaluation.starts import pass_name, powers_up_to
from gflowvlm.evaluation.verdict import Contender, Figure, Verdict, judge

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """One finished run of a method."""

    seed: int
    folder: str
    objective: str
    spent: Mapping[str, float]
    splits: Mapping[str, Measurement]
    exact: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def value(self, split: str, figure: str) -> Array:
        """[starts] values of a figure on a split, or one that is exact; empty where it has none."""
        if figure in ("tv", "computed_reach"):
            found = self.exact.get(split, {}).get(figure.removeprefix("computed_"))
            if isinstance(found, Mapping):  # two limits
                found = (found["low"] + found["high"]) / 2
            return np.array([] if found is None else [found], dtype=np.float64)
        values = self.splits[split].by_start.get(figure, [])
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

    def as_dict(self, figures: Sequence[Figure]) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "seed": self.seed,
            "folder": self.folder,
            "objective": self.objective,
            "spent": dict(self.spent),
            "splits": {
                split: {
                    "values": {f.name: _number(self.value(split, f.name)) for f in figures},
                    "measurement": measured.as_dict(),
                    "exact": self.exact.get(split),
                }
                for split, measured in self.splits.items()
            },
        }


def figures_for(samples_per_start: int, gap: float = 0.0) -> list[Figure]:
    """All that methods are compared by, what is exact first; see `gap_of` for `gap`.

    Of pass@k every third power of two stands there, so that the table fits a screen.
    """
    within = f", +-{50 * gap:.2f} points" if gap else ""
    passes = [k for k in powers_up_to(samples_per_start)[::-3] if k > 1]
    return [
        Figure("computed_reach", f"reach, computed{within}", "higher", "share"),
        Figure("tv", "TV to the exact law", "lower", "number"),
        Figure("reach", "reach", "higher", "share"),
        Figure("strict", "strict", "higher", "share"),
        Figure("diversity", f"Div@{samples_per_start}", "higher", "number"),
        Figure("diversity_classes", f"Div@{samples_per_start} classes", "higher", "number"),
        Figure("solutions", "solutions found", "higher", "share"),
        Figure("classes", "classes found", "higher", "share"),
        Figure("reply_entropy", "reply entropy", None, "number"),
        *(Figure(pass_name(k), pass_name(k), "higher", "share") for k in reversed(passes)),
    ]


def summarise(
    settings: Mapping[str, Any],
    methods: Mapping[str, Sequence[RunFigures]],
    start: Sequence[RunFigures],
    missing: Mapping[str, str],
) -> dict[str, Any]:
    """What `comparison.json` holds; see above.

    Args:
        settings: name, environment_steps, seeds, splits, episodes, samples_per_start.
        methods: label -> finished runs; one without any is left out.
        start: the same measurements of the policy that all start from, one per seed.
        missing: run -> why it has not finished.
    """
    everyone = [*start, *chain.from_iterable(methods.values())]
    gap = gap_of(everyone)
    figures = figures_for(settings["samples_per_start"], gap)
    splits = [*settings["splits"], *([ALL] if len(settings["splits"]) > 1 else [])]
    verdicts: list[Verdict] = []
    aggregates: dict[str, dict[str, dict[str, Any]]] = {label: {} for label in [*methods, ""]}
    for split in splits:
        for figure in figures:
            field_of = _contenders({**methods, "": start}, split, settings["splits"], figure)
            for label, (_, found) in field_of.items():
                aggregates[label].setdefault(split, {})[figure.name] = asdict(found)
            rivals = [contender for label, (contender, _) in field_of.items() if label]
            if figure.better is not None and len(rivals) > 1:
                slack = gap if figure.name == "computed_reach" else 0.0
                verdicts.append(judge(split, figure, rivals, slack=slack))
    return {
        **settings,
        "figures": {f.name: f.as_dict() for f in figures},
        "methods": {
            label: {
                "objective": runs[0].objective,
                "runs": [run.as_dict(figures) for run in runs],
                "spent": _means([run.spent for run in runs]),
                "aggregate": aggregates[label],
            }
            for label, runs in methods.items()
            if runs
        },
        "start": {"runs": [run.as_dict(figures) for run in start], "aggregate": aggregates[""]},
        "references": _references(everyone),
        "best": {
            split: {v.figure: v.best for v in verdicts if v.split == split} for split in splits
        },
        "verdicts": [verdict.words for verdict in verdicts],
        "missing": dict(missing),
    }


def _contenders(
    methods: Mapping[str, Sequence[RunFigures]], split: str, splits: Sequence[str], figure: Figure
) -> dict[str, tuple[Contender, Interval]]:
    """Methods that have the figure in every run, with their bootstrap draws."""
    found = {}
    for label, runs in methods.items():
        asked = splits if split == ALL else [split]
        strata: Strata = [[run.value(each, figure.name) for run in runs] for each in asked]
        if not runs or any(not len(values) for stratum in strata for values in stratum):
            continue
        if np.isnan(point(strata)):
            continue
        # a stream of its own: a method's interval does not depend on which others there are
        name = crc32(f"{label}/{split}/{figure.name}".encode())
        draws = resampled(strata, np.random.default_rng(name))
        whole = interval(strata, draws)
        assert whole is not None
        found[label] = Contender(label=label, strata=strata, draws=draws), whole
    return found


def _references(runs: Sequence[RunFigures]) -> dict[str, dict[str, dict[str, float]]]:
    """Per split what chance, the exact sampler and the best play reach, where known."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for run in runs:
        for split, measured in run.splits.items():
            known = found.setdefault(split, {})
            for name in ("chance", "sampler", "optimum"):
                rates = getattr(measured, name)
                if rates is not None:
                    known.setdefault(name, {}).update(
                        reach=rates.reach, strict=rates.strict, computed_reach=rates.reach
                    )
            if measured.coverage is not None:
                known.setdefault("optimum", {}).update(
                    solutions=measured.coverage.best_solutions,
                    classes=measured.coverage.best_classes,
                )
            laws = run.exact.get(split, {}).get("laws", {})
            for name, law in (("chance", "uniform"), ("sampler", "exact sampler")):
                if law in laws:
                    known.setdefault(name, {})["tv"] = laws[law]["tv"]
    for split, known in found.items():
        known.update(_played([run.splits[split] for run in runs if split in run.splits]))
    return found


def _played(measured: Sequence[Measurement]) -> dict[str, dict[str, float]]:
    """What those reach who played the starts of each run, mean over the runs."""
    found: dict[str, list[Reference]] = {}
    for each in measured:
        for name, reference in each.references.items():
            found.setdefault(f"{name}, played", []).append(reference)
    return {
        name: {
            "reach": fmean(each.reach.value for each in games),
            "strict": fmean(each.strict.value for each in games),
        }
        for name, games in found.items()
    }


def _means(spent: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(each[name] for each in spent) / len(spent) for name in spent[0]}


def gap_of(runs: Iterable[RunFigures]) -> float:
    """The largest distance between the two limits of a computed reach; 0 where it is a number."""
    reach = [exact.get("reach") for run in runs for exact in run.exact.values()]
    return max((r["high"] - r["low"] for r in reach if isinstance(r, Mapping)), default=0.0)


def _number(values: Array) -> float | None:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else None
