"""Watch a policy: a few games with its thoughts and how likely each legal action was."""

from contextlib import closing
from pathlib import Path

from rich.console import Console
from torch import Tensor

from gflowvlm.episode import Decision
from gflowvlm.launch.parts import build_collector
from gflowvlm.launch.runs import open_policy
from gflowvlm.policy.choices import action_log_probs
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.reply import parse_reply
from gflowvlm.report.gif import write_gif
from gflowvlm.report.playback import Move, Playback, choices_of
from gflowvlm.report.terminal import print_explanation, print_playback
from gflowvlm.rollouts.collect import Played
from gflowvlm.rollouts.plan import plan_groups


def play(
    target: Path, *, episodes: int, split: str | None, seed: int, gif: Path | None
) -> list[Playback]:
    """Play with a run's policy, or with the one a recipe starts from, at the policy's temperature.

    Args:
        target: a run's folder or a recipe.
        episodes: games, each from a start of its own.
        split: of the starts; None for the one that training draws from.
        seed: decides starts and replies.
        gif: file to draw into as well, or None.
    """
    config, policy = open_policy(target, seed=seed)
    split = split or config.environment.train_split
    plans = plan_groups(seed, f"play/{split}", first_group=0, groups=episodes, group_size=1)
    with closing(build_collector(config, split, batch_size=episodes)) as collector:
        played = collector.collect(policy, plans)
    console = Console()
    playbacks = []
    for number, game in enumerate(played, start=1):
        title = f"{config.environment.id} {split}, game {number} of {episodes}"
        playbacks.append(playback_of(policy, game, title))
        print_playback(playbacks[-1], console)
    print_explanation(console)
    if gif is not None:
        console.print(f"gif: {write_gif(playbacks, gif)}", markup=False, highlight=False)
    return playbacks


def playback_of(policy: VLMPolicy, game: Played, title: str) -> Playback:
    """A played game with the policy's probabilities of each legal action."""
    decisions = game.episode.decisions
    log_probs = action_log_probs(policy, game.rows, decisions)
    moves = [_move(*each) for each in zip(decisions, log_probs, strict=True)]
    return Playback(episode=game.episode, moves=tuple(moves), title=title)


def _move(decision: Decision, log_probs: Tensor | None) -> Move:
    normalised = [] if log_probs is None else log_probs.softmax(-1).tolist()
    return Move(
        decision=decision,
        thought=parse_reply(decision.reply.text, decision.observation.legal_actions).thought,
        choices=() if log_probs is None else choices_of(decision, normalised),
        legal_share=None if log_probs is None else log_probs.exp().sum().item(),
    )
