"""Which plots a page shows of a run or a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gflowvlm.evaluation.measure import Measurement
from gflowvlm.report.comparison import Comparison, Estimate
from gflowvlm.report.figures import Figure, Mark, Series, curves, plane, scatter
from gflowvlm.report.scores import POLICIES, REFERENCES
from gflowvlm.report.sources import Run, Subject

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """Metrics that belong on one plot, where they are logged."""

    title: str
    unit: str
    names: Mapping[str, str]  # metric -> what the key calls it


PANELS = (
    Panel("Success in training", "%", {"reach": "reach", "strict": "strict"}),
    Panel("Loss", "", {"loss": "loss"}),
    Panel("log Z", "nats", {"log_z": "head", "log_z_implied": "implied by games"}),
    Panel("Log-reward", "nats", {"log_reward": "log R"}),
    Panel("Distance to the start policy", "nats a game", {"kl_to_reference": "KL"}),
    Panel("Entropy", "nats a reply", {"entropy": "entropy"}),
    Panel("Replies", "%", {"right_moves": "right moves", "reading": "numbers read right",
                           "invalid_replies": "invalid"}),
    Panel("Length", "decisions a game", {"length": "length"}),
    Panel("Gradient norm", "", {"gradient_norm": "norm"}),
    Panel("Time", "seconds an update", {"seconds_prepare": "playing", "seconds_step": "learning"}),
)  # fmt: skip
STEPS = "environment_steps"
SHOWN = 200  # points of a curve over seeds
_COLOUR_OF = {"before": 7, "after": 0}
_COMPARED = ("strict", "reach", "log_reward", "kl_to_reference", "entropy", "length")


@dataclass(frozen=True)
class Curves:
    """The plots of what was logged."""

    main: list[Figure]
    others: list[Figure]
    constant: list[tuple[str, float]]  # logged, and the same throughout


def learning_curves(subject: Subject) -> Curves:
    """Everything in the metrics files, the telling part first."""
    logged = {name for run in subject.runs for line in run.metrics for name in line} - {
        "step",
        STEPS,
    }
    if subject.comparison is not None:
        main = [name for name in _COMPARED if name in logged]
        others = sorted(logged - set(main))
        return Curves(
            main=[_over_seeds(subject, name) for name in main],
            others=[_over_seeds(subject, name) for name in others],
            constant=[],
        )
    (run,) = subject.runs
    constant = {name for name in logged if len({line.get(name) for line in run.metrics}) == 1}
    constant -= {name for panel in PANELS for name in panel.names}  # a straight line tells, too
    constant = set() if len(run.metrics) < 3 else constant
    looked = {name: name.replace("/", ", ") for name in sorted(logged) if "/" in name}
    shares = {name: label for name, label in looked.items() if _bounded(run, name)}
    panels = [Panel("Success held out", "%", shares), *PANELS]
    main, drawn = [], set(constant)
    for panel in panels:
        names = [name for name in panel.names if name in logged - constant]
        drawn |= set(names)
        if names:
            series = [
                _series(run, name, panel.names[name], number) for number, name in enumerate(names)
            ]
            main.append(curves(panel.title, panel.unit, series))
    others = [
        curves(name.replace("_", " "), "", [_series(run, name, name, 0)])
        for name in sorted(logged - drawn)
    ]
    known = sorted(
        (name, [line.get(name, np.nan) for line in run.metrics][-1]) for name in constant
    )
    return Curves(main=main, others=others, constant=known)


def planes(subject: Subject) -> list[Figure]:
    """Success and diversity of every policy, one plot per split."""
    if subject.comparison is not None:
        return _compared_planes(subject.comparison)
    (run,) = subject.runs
    found = []
    for splits in zip(*run.measured.values(), strict=False):
        first = splits[0]
        marks = [Mark("chance", first.chance.reach)] if first.chance else []
        if first.sampler is not None:
            marks.append(Mark("exact sampler", first.sampler.reach))
        series = [
            _point(POLICIES.get(name, name), _COLOUR_OF.get(name, 1), each)
            for name, each in zip(run.measured, splits, strict=True)
        ]
        shown = [each for each in series if len(each.x)]
        if shown:
            label = f"Div@{first.samples_per_start}"
            found.append(plane(first.split, shown, marks, labels=("goal reached", label)))
    return found


def calibrations(run: Run) -> list[tuple[str, list[Figure]]]:
    """Of each split that was computed: the law, log Z, what is left of the balance."""
    found = []
    for split, plain in run.exact.items():
        figures = []
        cloud = run.cloud.get(split)
        if cloud:
            exact = np.array(cloud["exact"])
            clouds = [
                Series(name=name, colour=colour, x=exact, y=np.array(cloud[name]))
                for name, colour in (("start model", 7), ("model", 0))
            ]
            labels = ("exact log P, nats", "the policy's log P, nats")
            figures.append(scatter(f"{split}: every ended history", "", clouds, labels=labels))
        log_z = plain.get("log_z")
        if log_z:
            points = Series(
                name="model", colour=0, x=np.array(log_z["exact"]), y=np.array(log_z["learned"])
            )
            labels = ("exact, nats", "learned, nats")
            figures.append(scatter(f"{split}: log Z of each start", "", [points], labels=labels))
        if plain.get("residual"):
            lengths, values = zip(*sorted((int(k), v) for k, v in plain["residual"].items()),
                                  strict=True)  # fmt: skip
            line = Series(
                name="model", colour=0, x=np.array(lengths, float), y=np.array(values), dots=True
            )
            title = f"{split}: RMS of a_i - a_j"
            figures.append(curves(title, "nats", [line], x_label="decisions between i and j"))
        if figures:
            found.append((split, figures))
    return found


def _series(run: Run, name: str, label: str, colour: int) -> Series:
    lines = [line for line in run.metrics if name in line]
    x = np.array([line["step"] for line in lines], float)
    y = np.array([line[name] for line in lines], float)
    y[~np.isfinite(y)] = np.nan
    return Series(name=label, colour=colour, x=x, y=y, dots="/" in name)


def _bounded(run: Run, name: str) -> bool:
    return all(0 <= line[name] <= 1 for line in run.metrics if name in line)


def _over_seeds(subject: Subject, name: str) -> Figure:
    """The mean over a method's runs, within their extremes; over environment steps if counted."""
    lines = [line for run in subject.runs for line in run.metrics]
    counted = all(STEPS in line for line in lines) and any(line[STEPS] for line in lines)
    across = STEPS if counted else "step"
    found = []
    for colour, method in enumerate(subject.methods):
        runs = [run for run in subject.runs if run.method == method]
        points = [_line(run, name, across) for run in runs]
        # a method that plays nothing stands still in environment steps
        known = [(x, y) for x, y in points if len(np.unique(x)) > 1 or len(x) == 1]
        if not known:
            continue
        grid = np.unique(np.concatenate([x for x, _ in known]))
        grid = grid[np.unique(np.linspace(0, len(grid) - 1, SHOWN).astype(int))]
        values = np.array([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in known])
        found.append(
            Series(
                name=method,
                colour=colour,
                x=grid,
                y=np.nanmean(values, 0),
                low=np.nanmin(values, 0),
                high=np.nanmax(values, 0),
            )
        )
    units = {name: (panel.title, panel.unit) for panel in PANELS for name in panel.names}
    title, unit = units.get(name, (name.replace("_", " "), ""))
    if name in _COMPARED[:2]:
        title = f"{title}: {name}"
    return curves(title, unit, found, x_label="environment steps" if across == STEPS else "update")


def _line(run: Run, name: str, across: str) -> tuple[Floats, Floats]:
    """([P], [P]) finite values of a metric and where they were logged."""
    points = [
        (line[across], line[name]) for line in run.metrics if np.isfinite(line.get(name, np.nan))
    ]
    x, y = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return x, y


def _point(name: str, colour: int, found: Measurement) -> Series:
    """One policy on the plane; nothing where it never won, so that diversity means nothing."""
    diversity = found.diversity if found.coverage is None else found.coverage.diversity
    if diversity is None:
        return Series(name=name, colour=colour, x=np.zeros(0), y=np.zeros(0))
    reach = found.reach
    error = np.array([[reach.value - reach.low], [reach.high - reach.value]])
    return Series(
        name=name,
        colour=colour,
        x=np.array([reach.value]),
        y=np.array([diversity]),
        error=np.maximum(error, 0.0),
    )


def _compared_planes(comparison: Comparison) -> list[Figure]:
    """Every method with its interval, its runs as small dots."""
    classes = any("diversity_classes" in e for s in comparison.scores.values() for e in s.values())
    name = "diversity_classes" if classes else "diversity"
    found = []
    for split in (each for each in comparison.splits if each != "all"):
        series = []
        for colour, (method, scores) in enumerate(comparison.scores.items()):
            runs = [run.values.get(split, {}) for run in comparison.runs if run.method == method]
            series += _compared_point(method, colour, scores.get(split, {}), runs, name)
        series += _compared_point("start policy", 7, comparison.start.get(split, {}), [], name)
        references = comparison.references.get(split, {})
        marks = [
            Mark(REFERENCES.get(reference, reference), values["reach"])
            for reference, values in references.items()
            if "reach" in values and reference != "optimum"
        ]
        if series:
            labels = ("goal reached", comparison.figures[name].label)
            found.append(plane(split, series, marks, labels=labels))
    return found


def _compared_point(
    method: str,
    colour: int,
    found: Mapping[str, Estimate],
    runs: Sequence[Mapping[str, float | None]],
    name: str,
) -> list[Series]:
    success, diversity = found.get("reach"), found.get(name)
    if success is None or diversity is None:
        return []
    error = [[success.value - success.low], [success.high - success.value]]
    dots = [(run.get("reach"), run.get(name)) for run in runs]
    known = [(x, y) for x, y in dots if x is not None and y is not None]
    return [
        Series(
            name=method,
            colour=colour,
            x=np.array([success.value]),
            y=np.array([diversity.value]),
            error=np.maximum(np.array(error), 0.0),
            cloud=np.array(known, dtype=np.float64).reshape(-1, 2),
        )
    ]
