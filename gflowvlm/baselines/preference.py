"""Training on pairs of replies: draw steps, make each one's rejected reply, compare."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gflowvlm.baselines.contrast import logistic_loss
from gflowvlm.baselines.kept import KeptGames
from gflowvlm.baselines.opponents import Opponents
from gflowvlm.baselines.pairs import NoPair, Pair, PairMaker, steps_of
from gflowvlm.baselines.sft import in_epochs
from gflowvlm.batch import StepScores, rows_of
from gflowvlm.errors import UserError
from gflowvlm.objectives.base import ObjectiveOutput
from gflowvlm.objectives.work import Work
from gflowvlm.processes import ALONE, Processes

_STREAM = 19  # keeps the draws of steps apart from the run's other ones


@dataclass(frozen=True, kw_only=True)
class PairLoss:
    """The logistic loss of pairs, each an "episode" of two rows, against a stored reference."""

    log_mu: Tensor  # [P, 2]  of what is compared of the preferred and the rejected reply, nats
    acts: Tensor  # [P]       bool, whether their actions are compared
    beta: float
    label_smoothing: float
    sft_weight: float  # of the whole preferred reply's negative log-likelihood, nats a token
    thought_weight: float

    def __call__(self, scores: StepScores, part: slice) -> ObjectiveOutput:
        """A mean over the pairs of a slice; metrics have TRL's names."""
        thought = scores.thought_log_prob.double().view(-1, 2)
        action = scores.action_log_prob.double().view(-1, 2)
        acts, log_mu = (each[part].to(action.device) for each in (self.acts, self.log_mu))
        ratio = self.thought_weight * thought + torch.where(acts[:, None], action, 0.0) - log_mu
        margin = ratio[:, 0] - ratio[:, 1]
        losses = logistic_loss(margin, beta=self.beta, label_smoothing=self.label_smoothing)
        nats = _nats_per_token(scores)[::2]
        reward = self.beta * ratio.detach()
        return ObjectiveOutput(
            loss=(losses + self.sft_weight * nats).mean(),
            metrics={
                "rewards/chosen": reward[:, 0].mean().item(),
                "rewards/rejected": reward[:, 1].mean().item(),
                "rewards/margins": (reward[:, 0] - reward[:, 1]).mean().item(),
                "rewards/accuracies": (reward[:, 0] > reward[:, 1]).double().mean().item(),
                "nats_per_token": nats.mean().item(),
            },
        )


def _nats_per_token(scores: StepScores) -> Tensor:
    """[D] mean negative log-prob of each reply's tokens."""
    zeros = scores.action_log_prob.new_zeros(len(scores.action_log_prob), dtype=torch.float64)
    tokens = zeros.index_add(
        0, scores.token_decision, torch.ones_like(scores.token_log_prob).double()
    )
    return -zeros.index_add(0, scores.token_decision, scores.token_log_prob.double()) / tokens


@dataclass(kw_only=True)
class PreferenceTraining:
    """DPO and SPIN: which replies are rejected, and by what reference, is all that differs.

    A round begins with the opponents taking in the policy as it is and, where its own successes are
    preferred, with new games. Every update then draws steps, each once an epoch, and makes their
    rejected replies.
    """

    steps: KeptGames | Sequence[Any]  # own successes, an expert's steps, or stored pairs
    make_pairs: PairMaker
    opponents: Opponents
    beta: float
    label_smoothing: float
    sft_weight: float
    pairs_per_update: int
    round_updates: int
    seed: int
    processes: Processes = ALONE

    def prepare(self, update: int) -> list[Work]:
        """The pairs of an update, counted from 0."""
        number, place = divmod(update, self.round_updates)
        metrics: dict[str, float] = {}
        if place == 0:
            self.opponents.renew()
            if isinstance(self.steps, KeptGames):
                metrics |= self.steps.play(update)
        pairs, refused = self._pairs(update, number, place)
        told = self.processes.gather((len(pairs), refused))
        total = sum(count for count, _ in told)
        reasons = sum((each for _, each in told), Counter[str]())
        if not total:
            raise UserError(
                f"update {update + 1}: none of {self.pairs_per_update} steps made a pair, because "
                f"of {reasons.most_common(1)[0][0]}: change objective.rejected or objective.chosen"
            )
        compared = rows_of(pair.compared for pair in pairs)
        log_mu = self.opponents.log_prob(compared).view(-1, 2) if pairs else torch.zeros(0, 2)
        cost = self.steps.cost(update) if isinstance(self.steps, KeptGames) else (0, 0)
        work = Work(
            episodes=[pair.rows for pair in pairs],
            loss=PairLoss(
                log_mu=log_mu,
                acts=torch.tensor([not pair.by_thought for pair in pairs], dtype=torch.bool),
                beta=self.beta,
                label_smoothing=self.label_smoothing,
                sft_weight=self.sft_weight,
                thought_weight=self.opponents.thought_weight,
            ),
            couples_rows=False,
            share=lambda part: (part.stop - part.start) / total,
            metrics={
                **metrics,
                "pairs": float(total),
                **{f"no_pair/{reason}": float(count) for reason, count in reasons.items()},
                "opponents": float(len(self.opponents.iterates)),
            },
            episodes_played=cost[0],
            environment_steps=cost[1],
        )
        return [work]

    def save(self, folder: Path) -> None:
        """Write the opponents, and own games where there are any."""
        self.opponents.save(folder)
        if isinstance(self.steps, KeptGames):
            self.steps.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.opponents.load(folder)
        if isinstance(self.steps, KeptGames):
            self.steps.load(folder)

    def _pairs(self, update: int, number: int, place: int) -> tuple[list[Pair], Counter[str]]:
        """This process's pairs of an update, and why others could not be made."""
        count = self.pairs_per_update
        if isinstance(self.steps, KeptGames):
            steps = steps_of([game.episode for game in self.steps.games])
            drawn = in_epochs((self.seed, _STREAM, number), place * count, count, of=len(steps))
        else:
            steps = self.steps
            drawn = in_epochs((self.seed, _STREAM), update * count, count, of=len(steps))
        mine = self.processes.deal(list(enumerate(drawn, start=update * count)))
        made = self.make_pairs([steps[i] for _, i in mine], [each for each, _ in mine])
        refused = Counter(each.value for each in made if isinstance(each, NoPair))
        return [each for each in made if not isinstance(each, NoPair)], refused
