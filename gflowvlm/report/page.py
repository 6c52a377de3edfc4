"""The page: one file that needs nothing else, no network and no server."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from gflowvlm import __version__
from gflowvlm.config.load import dump_json
from gflowvlm.files import write_text
from gflowvlm.report import charts, scores
from gflowvlm.report.playback import EXPLANATION
from gflowvlm.report.recording import rounded
from gflowvlm.report.sources import Subject

TEMPLATES = files("gflowvlm.report") / "templates"


@dataclass(frozen=True)
class Page:
    """A page that was written."""

    path: Path
    size: int  # bytes
    episodes: int
    pictures: int  # different ones

    def __str__(self) -> str:
        return (
            f"{self.path} ({self.size / 1000:,.0f} kB, {self.episodes} episodes, "
            f"{self.pictures} different pictures)"
        )


def write_page(subject: Subject, path: Path, *, reload_every: float | None = None) -> Page:
    """Write a subject's page; the file appears whole or not at all.

    Args:
        subject: figures and games.
        path: file to write.
        reload_every: seconds after which the page loads itself anew; None for never.

    Raises:
        OSError: it cannot be written.
    """
    text = render(subject, reload_every=reload_every)
    write_text(path, text)
    recordings = subject.recordings.values()
    return Page(
        path=path,
        size=len(text.encode()),
        episodes=sum(len(each.episodes) for each in recordings),
        pictures=len({name for each in recordings for name in each.pictures}),
    )


def render(subject: Subject, *, reload_every: float | None = None) -> str:
    """The page's text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_text("page.html.jinja"))
    comparison = subject.comparison
    lone = comparison is None
    run = subject.runs[0] if lone else None
    return template.render(
        title=comparison.name if comparison else subject.runs[0].name,
        facts=_facts(subject),
        lone=lone,
        comparison=comparison,
        tables=scores.score_tables(subject),
        cost=scores.cost_table(comparison) if comparison else None,
        laws=scores.law_tables(run) if run else [],
        curves=charts.learning_curves(subject),
        planes=charts.planes(subject),
        calibrations=charts.calibrations(run) if run else [],
        svg=lambda figure: Markup(figure.svg),
        settings=[(each.name, dump_json(each.config)) for each in subject.runs],
        games=_script_safe(games_of(subject)) if subject.recordings else None,
        recordings=subject.recordings,
        explanation=EXPLANATION,
        style=Markup(_text("page.css")),
        script=Markup(_text("page.js")),
        reload_every=reload_every,
        finished=subject.finished,
        version=__version__,
    )


def games_of(subject: Subject) -> dict[str, Any]:
    """What the browser shows: pictures by name, and the games of all methods."""
    pictures: dict[str, str] = {}
    games: list[dict[str, Any]] = []
    for recording in subject.recordings.values():
        pictures.update(recording.pictures)
        games += [asdict(episode) for episode in recording.episodes]
    return {"pictures": pictures, "games": rounded(games), "alpha": _alphas(subject)}


def _alphas(subject: Subject) -> dict[str, float]:
    return {method: each.alpha for method, each in subject.recordings.items()}


def _facts(subject: Subject) -> Sequence[tuple[str, str]]:
    """What a reader wants to know first."""
    if subject.comparison is not None:
        environments = dict.fromkeys(each.config.environment.id for each in subject.runs)
        starts = dict.fromkeys(str(each.config.policy.start) for each in subject.runs)
        return (
            ("environment", ", ".join(environments) or "-"),
            ("methods", ", ".join(subject.methods) or "-"),
            ("runs", str(len(subject.runs))),
            ("budget of each", f"{subject.comparison.environment_steps:,} environment steps"),
            ("start policy", ", ".join(starts) or "-"),
        )
    (run,) = subject.runs
    config = run.config
    beta = config.last_beta
    return (
        ("environment", config.environment.id),
        ("objective", config.objective.type),
        ("target", f"R^{beta:g} p_ref^{config.alpha:g}"),
        ("model", str(config.policy.model)),
        ("updates", f"{run.updates} of {config.trainer.max_updates}"),
        ("episodes an update", str(config.played)),
        ("seed", str(config.seed)),
    )


def _script_safe(values: Any) -> Markup:
    """JSON that no text in it can end: `<`, `>` and `&` are written as escapes."""
    plain = json.dumps(values, separators=(",", ":"))
    for sign in "<>&":
        plain = plain.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(plain)


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
