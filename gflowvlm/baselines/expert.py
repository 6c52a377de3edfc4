"""Games of an environment's expert, as episodes or as conversations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import gymnasium
import numpy as np

from gflowvlm.baselines.conversations import EXPERT, Conversation
from gflowvlm.config.policy import Layout
from gflowvlm.episode import Episode, Reply
from gflowvlm.errors import ContextExceeded, UserError
from gflowvlm.policy.base import Policy
from gflowvlm.policy.expert import TaughtTurn
from gflowvlm.prompting.messages import grows, turns_of
from gflowvlm.prompting.reply import DONE_REPLY, format_reply
from gflowvlm.rollouts.collect import Played
from gflowvlm.rollouts.environments import facts_of, observe, refusals_of
from gflowvlm.rollouts.game import Game
from gflowvlm.rollouts.plan import Plan
from gflowvlm.rollouts.seats import LocalSeat
from gflowvlm_envs.contract import Expert

_DONE_STREAM = 13  # keeps the draws of DONE apart from the game's own


def expert_games(
    make: Callable[[], gymnasium.Env[Any, Any]],
    *,
    seeds: Iterable[int],
    mistakes: float,
    done_share: float = 0.0,
    done_at: Literal["goal", "prefix"] = "prefix",
    layout: Layout = "transcript",
    history_length: int | None = None,
    thought: bool = True,
    check: Callable[[dict[str, Any]], None] = lambda info: None,
) -> Iterator[list[TaughtTurn]]:
    """The turns of one game a seed: the expert errs, in thought and action, by `mistakes`.

    Args:
        make: builds the environment; it must offer `expert`.
        seeds: start seeds.
        mistakes: share of moves replaced by a wrong one.
        done_share: share of the games that end with DONE.
        done_at: where it is said: at a uniformly drawn history before the end, or at a goal met.
        layout: how the history enters the text of a turn.
        history_length: the latest steps that a rewritten prompt may hold; None for all.
        thought: False where a reply is the action alone.
        check: called with every `info` shown; raises if it may not be trained on.

    Raises:
        UserError: the environment has no expert.
    """
    environment = make()
    require_expert(environment)
    for number, seed in enumerate(seeds):
        plan = Plan(index=number, group=number, seed=seed)
        game = _play(environment, plan, mistakes, check, thought=thought)
        shown = [decision.observation for decision in game.decisions]
        replies = [decision.reply.text for decision in game.decisions]
        draw = np.random.default_rng([seed, _DONE_STREAM])
        if draw.random() < done_share:
            if done_at == "prefix":
                stop = int(draw.integers(len(shown)))
                shown, replies = shown[: stop + 1], [*replies[:stop], DONE_REPLY]
            elif game.success:
                check(game.info)
                shown.append(observe(game.pixels, game.info))
                replies.append(DONE_REPLY)
        turns = turns_of(layout, shown, replies, thought=thought, history_length=history_length)
        yield [
            TaughtTurn(image=turn.image, text=turn.text, reply=reply)
            for turn, reply in zip(turns, replies, strict=True)
        ]
    environment.close()


def expert_episodes(
    environment: gymnasium.Env[Any, Any],
    plans: Sequence[Plan],
    *,
    environment_id: str,
    split: str,
    mistakes: float,
    thought: bool = True,
) -> list[Episode]:
    """The expert's game of each plan.

    Raises:
        UserError: the environment has no expert.
    """
    games = (_play(environment, plan, mistakes, lambda _: None, thought=thought) for plan in plans)
    return [game.finished(split, environment_id) for game in games]


def require_expert(environment: gymnasium.Env[Any, Any]) -> Expert:
    """The environment as its own expert.

    Raises:
        UserError: it has none.
    """
    player = environment.unwrapped
    if not hasattr(player, "expert"):
        raise UserError(
            f"{type(player).__name__} has no expert(), expected one that plays for the policy to "
            "learn from: add the method, train from your own dataset, or set expert.share to 0"
        )
    return cast(Expert, player)


@dataclass(frozen=True, kw_only=True)
class ExpertPlayer:
    """Plays the starts of planned episodes in the policy's stead.

    Its replies have no tokens and no log-probs of their own: nothing sampled them. The tokens that
    the policy would have had to say stand in the row.
    """

    environment: gymnasium.Env[Any, Any]
    environment_id: str
    split: str
    mistakes: float  # share of moves replaced by a wrong one
    max_reply_tokens: int  # a policy cuts a longer reply off and could never say it
    thought: bool = True  # False where the policy's replies are actions alone

    def play(
        self, policy: Policy, plans: Sequence[Plan], begun: Sequence[Sequence[Reply]] | None = None
    ) -> list[Played]:
        """One episode a plan, in their order; equal arguments give equal games.

        Args:
            policy: whose tokens the words become.
            plans: what is to be played.
            begun: for each plan, replies that stand before the expert's, and end no game; none
                where it plays from the start.

        Raises:
            UserError: a reply of the expert's is longer than the policy's may be.
        """
        before = begun if begun is not None else [()] * len(plans)
        return [self._played(policy, *each) for each in zip(plans, before, strict=True)]

    def _played(self, policy: Policy, plan: Plan, begun: Sequence[Reply]) -> Played:
        with refusals_of(self.environment_id):
            game = _play(
                self.environment, plan, self.mistakes, lambda _: None, begun, thought=self.thought
            )
        episode: Episode = game.finished(self.split, self.environment_id)
        seen = [decision.observation for decision in episode.decisions]
        try:
            rows = policy.rows_of_episode(seen, [d.reply.text for d in episode.decisions])
        except ContextExceeded as error:
            if not begun:
                raise
            return Played(episode=episode, rows=(), cut=str(error))  # others made it so long
        lengths = [row.decision_of.count(k) for row in rows for k in range(row.num_decisions)]
        longest = max(lengths[len(begun) :])
        if longest > self.max_reply_tokens:
            raise UserError(
                f"found an expert's reply of {longest} tokens, expected at most "
                f"policy.max_reply_tokens = {self.max_reply_tokens}: raise it, or set "
                "expert.share to 0"
            )
        return Played(episode=episode, rows=rows, cut=game.cut)


def _play(
    environment: gymnasium.Env[Any, Any],
    plan: Plan,
    mistakes: float,
    check: Callable[[dict[str, Any]], None],
    begun: Sequence[Reply] = (),
    *,
    thought: bool = True,
) -> Game:
    """The expert's game from the plan's start, or from where others began it, to its end."""
    expert = require_expert(environment)
    seat = LocalSeat(environment)
    seat.reset(plan.seed, None)
    game = Game(plan, seat)
    for reply in begun:
        game.play(reply)
    while game.ending is None:
        check(game.info)
        move = expert.expert(mistakes)
        facts = facts_of(game.info) if thought else {}
        action = game.observation.legal_actions[move.action]
        game.play(
            Reply(
                text=format_reply(facts, move.thought if thought else None, action),
                token_ids=(),
                segment=(),
                log_probs=(),
                fields=facts,
                action=move.action,
            )
        )
    return game


def conversations_of(
    game: Sequence[TaughtTurn], layout: Layout, *, episode: int
) -> list[Conversation]:
    """A game as the model reads it: one conversation, or one for each decision."""
    parts = [game] if grows(layout) else [[turn] for turn in game]
    return [Conversation(source=EXPERT, episode=episode, turns=part) for part in parts]
