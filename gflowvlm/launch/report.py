"""A page on a run or a comparison, its games played where none are kept yet."""

import os
import time
from collections.abc import Hashable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gflowvlm.config.preference import PreferenceConfig
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.errors import UserError
from gflowvlm.launch.exact import flows_of
from gflowvlm.launch.parts import build_collector
from gflowvlm.launch.play import playback_of
from gflowvlm.launch.runs import open_policy, open_run
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.report.page import Page, write_page
from gflowvlm.report.record import Bookkeeping, recorded
from gflowvlm.report.recording import Pictures, RecordedEpisode, Recording
from gflowvlm.report.sources import Run, Subject, read_subject
from gflowvlm.rollouts.collect import Collector, Played
from gflowvlm.rollouts.plan import plan_groups
from gflowvlm.rollouts.reward import build_reward
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.progress import ProgressDisplay

EPISODES, COMPARED_EPISODES = 24, 8  # a split of a run, and of each method that is compared
PER_START = 4  # games of each start, so that there are solutions to compare
WATCH_EVERY = 5.0  # seconds between looks at the run


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What the command line asks for."""

    output: Path
    episodes: int | None  # games a split; None: what is kept, or a few; 0: no browser
    seed: int


def report(target: Path, options: ReportOptions) -> Page:
    """Write one page that holds everything, and play the games it shows.

    Args:
        target: a run's folder, or that of a comparison.
        options: where to write, what to play.

    Raises:
        UserError: the folder is no run's, it holds nothing to show, or a file in it is broken.
    """
    subject = read_subject(target)
    subject.require_figures()
    return write_page(_with_games(subject, options), options.output)


def watch(target: Path, options: ReportOptions) -> Page:
    """Write the page anew whenever the figures have grown, until the run has ended or is given up.

    While training goes on the page shows the games that are kept; where `options.episodes` is given
    they are played anew for every checkpoint. The last page does not reload itself.
    """
    play = options.episodes is not None
    seen: object = None
    try:
        while not (subject := read_subject(target)).finished:
            if subject.stamp() != seen:
                seen = subject.stamp()
                subject = _with_games(subject, options, play=play)
                write_page(subject, options.output, reload_every=WATCH_EVERY)
            time.sleep(WATCH_EVERY)
    except KeyboardInterrupt:
        subject = _with_games(read_subject(target), options, play=False)
        return write_page(subject, options.output)
    return report(target, options)


def _with_games(subject: Subject, options: ReportOptions, *, play: bool = True) -> Subject:
    """The subject with the games its page shows; of a comparison, those of each method's first."""
    firsts = {run.method: run for run in reversed(subject.runs)}
    usual = EPISODES if len(firsts) == 1 else COMPARED_EPISODES
    found = {method: _games_of(firsts[method], options, play, usual) for method in subject.methods}
    return replace(subject, recordings={name: each for name, each in found.items() if each})


def _games_of(run: Run, options: ReportOptions, play: bool, usual: int) -> Recording | None:
    """Games kept in a run's folder; played with its newest policy where there are no such games."""
    if options.episodes == 0:
        return None
    kept = Recording.read(run.folder)
    if checkpoint.latest_complete(run.folder) is None and options.episodes is None:
        return kept
    _, newest = open_run(run.folder)
    update = checkpoint.step_of(newest)
    asked = options.episodes, options.seed
    if kept and kept.update == update and (options.episodes is None or asked == kept.asked):
        return kept
    if not play:
        return kept  # of an earlier update, which the page names
    if not os.access(run.folder, os.W_OK):
        raise UserError(
            f"{run.folder}: found no permission to keep games there, expected a folder "
            "of your own: copy it, or pass --episodes 0 for a page without games"
        )
    recording = _play(run, options.episodes or usual, options.seed, update)
    recording.write(run.folder)
    return recording


def _play(run: Run, episodes: int, seed: int, update: int) -> Recording:
    """Games from starts that training never sees, each start's several times."""
    config, policy = open_policy(run.folder, seed=seed)
    books = bookkeeping(config)
    pictures, found = Pictures(), []
    total = episodes * len(config.evaluation.splits)
    with ProgressDisplay(total, label=f"games of {run.name}") as progress:
        for split in config.evaluation.splits:
            plans = plan_groups(
                seed,
                f"report/{split}",
                first_group=0,
                groups=-(-episodes // PER_START),
                group_size=min(PER_START, episodes),
            )
            with closing(build_collector(config, split)) as collector:
                for game in collector.collect(policy, plans[:episodes]):
                    found.append(_recorded(policy, game, books, pictures, collector, run.method))
                    progress.advance(len(found))
    return Recording(
        update=update,
        episodes_per_split=episodes,
        seed=seed,
        alpha=config.alpha,
        beta=books.beta,
        pictures=pictures.known,
        episodes=tuple(found),
    )


def _recorded(
    policy: VLMPolicy,
    game: Played,
    books: Bookkeeping,
    pictures: Pictures,
    collector: Collector,
    method: str,
) -> RecordedEpisode:
    return recorded(
        policy,
        game,
        playback_of(policy, game, title=""),
        books,
        pictures,
        method=method,
        solution=_solution(game, collector),
    )


def _solution(game: Played, collector: Collector) -> Hashable:
    """The environment's class of a solution where it knows classes, else the actions themselves."""
    with closing(collector.make()) as environment:
        known: Any = environment.unwrapped
        if game.episode.success and hasattr(known, "solution_class"):
            return known.solution_class(game.episode.actions)
    return game.episode.actions


def bookkeeping(config: RunConfig) -> Bookkeeping:
    """What a run's objective balances once its schedules are over."""
    flows_at, forward_looking = flows_of(config)
    return Bookkeeping(
        reward=build_reward(config.reward),
        alpha=config.alpha,
        beta=config.last_beta,
        thought_weight=config.policy.thought_weight,
        flows_at=flows_at,
        forward_looking=forward_looking,
        balances=not isinstance(config.objective, SupervisedFineTuning | PreferenceConfig),
        rows_per_pass=config.trainer.rows_per_pass,
    )
