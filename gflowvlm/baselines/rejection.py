"""Rejection-sampling fine-tuning: imitate the policy's own successes, in rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gflowvlm.baselines.kept import KeptGames
from gflowvlm.baselines.sft import in_epochs, learned_tokens
from gflowvlm.batch import Row, StepScores
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Work
from gflowvlm.processes import ALONE, Processes

_STREAM = 17  # keeps the draws of games apart from the run's other ones


@dataclass(frozen=True, kw_only=True)
class RejectionTraining:
    """Plays with the policy as it is, keeps what succeeds, imitates it; then anew.

    A round's games are drawn from `p_k * 1[success]` and likelihood is greatest where the policy is
    that law, so with p_0 = p_ref every round aims at `p_ref * 1[success]`: the indicator of an
    indicator is itself, and only what a round cannot reproduce drifts. That is the GFlowNet target
    at alpha = 1 and a reward of 1 or 0, which makes this the rival that is not a straw man.
    """

    kept: KeptGames
    equal_starts: bool
    games_per_update: int
    round_updates: int
    seed: int
    processes: Processes = ALONE

    def prepare(self, update: int) -> list[Work]:
        """The batch of an update, counted from 0; a round's first one plays it."""
        number, place = divmod(update, self.round_updates)
        metrics = self.kept.play(update) if place == 0 else {}
        games, count = self.kept.games, self.games_per_update
        weight = self.kept.weights() if self.equal_starts else [1.0] * len(games)
        drawn = in_epochs((self.seed, _STREAM, number), place * count, count, of=len(games))
        total = sum(weight[i] * learned_tokens(games[i].rows) for i in drawn)
        mine = self.processes.deal(drawn)
        loss = WeightedTokenLoss(
            episodes=[games[i].rows for i in mine], weights=[weight[i] for i in mine]
        )
        played, steps = self.kept.cost(update)
        work = Work(
            episodes=loss.episodes,
            loss=loss,
            couples_rows=False,
            share=lambda part: loss.mass(part) / total,
            metrics={**metrics, "epoch": (place + 1) * count / len(games)},
            episodes_played=played,
            environment_steps=steps,
        )
        return [work]

    def save(self, folder: Path) -> None:
        """Write the games of the round."""
        self.kept.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.kept.load(folder)


@dataclass(frozen=True, kw_only=True)
class WeightedTokenLoss:
    """`-sum w log p(token) / sum w`, nats, with a weight w for each episode."""

    episodes: Sequence[Sequence[Row]]
    weights: Sequence[float]  # of each episode

    def __call__(self, scores: StepScores, part: slice) -> ObjectiveOutput:
        """A weighted mean over the tokens of a slice of the episodes."""
        some = zip(self.episodes[part], self.weights[part], strict=True)
        weights = [w for rows, w in some for row in rows for _ in range(row.num_decisions)]
        log_prob = scores.token_log_prob.double()
        weight = log_prob.new_tensor(weights)[scores.token_decision]
        loss = -(weight * log_prob).sum() / weight.sum()
        return ObjectiveOutput(loss=loss, metrics={"nats_per_token": loss.item()})

    def mass(self, part: slice) -> float:
        """Weight of a slice's tokens."""
        some = zip(self.episodes[part], self.weights[part], strict=True)
        return sum(weight * learned_tokens(rows) for rows, weight in some)
