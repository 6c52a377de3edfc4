"""The loss of an update's trajectories, and what is logged of the policy's own ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gflowvlm.batch import StepScores, TrajectoryBatch
from gflowvlm.episode import Episode, Segment
from gflowvlm.errors import UserError
from gflowvlm.objectives.base import Objective, ObjectiveOutput
from gflowvlm.objectives.work import Sample
from gflowvlm.rollouts.arrange import arrange, pad_by_episode, weighted_log_prob
from gflowvlm.rollouts.replay import Trajectory

SAMPLED_EPISODES = 2  # of an update, whose replies are kept for people to read


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The loss of a slice of one update's trajectories."""

    objective: Objective
    alpha: float
    thought_weight: float
    rescore_tolerance: float  # nats a token; more between sampling and scoring stops the run
    trajectories: Sequence[Trajectory]
    own: int  # so many at the front are freshly played by the policy
    own_share: float  # of all processes' trajectories
    temperature: float  # that they were explored with
    beta: float
    samples: list[Sample] = field(default_factory=list)

    def __call__(self, scores: StepScores, part: slice) -> ObjectiveOutput:
        """A loss of whole episodes, and what else the update logs."""
        trajectories = self.trajectories[part]
        device = scores.action_log_prob.device
        batch = arrange(
            [t.episode for t in trajectories],
            [t.reward for t in trajectories],
            log_pf=weighted_log_prob(scores, self.thought_weight),
            log_ref=torch.cat([t.log_ref for t in trajectories]).to(device),
            flow=scores.flow if self.objective.needs_flow else None,
            alpha=self.alpha,
            beta=self.beta,
            scores=scores,
            log_ref_done=torch.cat([t.log_ref_done for t in trajectories]).to(device),
        )
        output = self.objective(batch)
        own = [t.episode for t in trajectories[: max(0, self.own - part.start)]]
        if part.start == 0:  # rows are judged in passes and once more as a whole, at last
            first = enumerate(own[:SAMPLED_EPISODES])
            self.samples[:] = [s for row, e in first for s in _samples(e, batch, row)]
        if not own:
            return output
        means, peaks = self._own_law(own, scores, batch)
        # A tally weights by rows; these are means over own episodes, of which others may have more.
        weight = len(own) / (len(trajectories) * self.own_share)
        return ObjectiveOutput(
            loss=output.loss,
            metrics={**output.metrics, **{name: weight * value for name, value in means.items()}},
            peaks={**output.peaks, **peaks},
        )

    def _own_law(
        self, own: Sequence[Episode], scores: StepScores, batch: TrajectoryBatch
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Means and peaks over the policy's own episodes, the first of the batch.

        Explored ones say only how far they strayed: `behaviour_kl`, nats an episode.
        """
        if self.temperature != 1.0:
            strayed = _sampled_less_scored(own, scores).sum().item()
            return {"behaviour_kl": strayed / len(own)}, {}
        gap = rescore_gap(own, scores, self.rescore_tolerance)
        lengths = [len(episode.decisions) for episode in own]
        entropy = pad_by_episode(scores.entropy[: sum(lengths)].double(), lengths).sum(1)
        means = {"entropy": (entropy / batch.length[: len(own)]).mean().item()}
        if self.alpha:  # else the reference was not asked
            ratio = torch.where(batch.valid, batch.log_pf - batch.log_ref, 0.0).sum(1)
            means["kl_to_reference"] = ratio[: len(own)].mean().item()
        return means, {"rescore_gap": gap}


def rescore_gap(episodes: Sequence[Episode], scores: StepScores, tolerance: float) -> float:
    """The farthest that a token's log-prob was from its score when it was sampled, nats.

    Args:
        episodes: sampled by the very policy that scored them.
        scores: theirs, and perhaps more behind.
        tolerance: more than that, nats a token, must not be trained on.

    Raises:
        UserError: it is more; the policy is not the one that is differentiated.
    """
    gap = _sampled_less_scored(episodes, scores).abs().max().item()
    if gap > tolerance:
        raise UserError(
            f"found sampled and re-scored log-probs {gap:.3g} nats apart, expected at most "
            f"{tolerance:g}: this model's cache and its one-pass scores "
            "disagree, try policy.attention: eager or policy.dtype: float32"
        )
    return gap


def samples_of(
    episode: Episode, log_pf: Sequence[float], log_ref: Sequence[float], log_reward: float
) -> list[Sample]:
    """The replies of an episode for people to read, each with its log-probs in nats."""
    return [
        Sample(
            episode=episode.index,
            decision=number,
            reply=decision.reply.text,
            action=None
            if decision.reply.action is None
            else decision.observation.legal_actions[decision.reply.action],
            reward=decision.reward,
            log_pf=log_pf[number],
            log_ref=log_ref[number],
            log_reward=log_reward,
        )
        for number, decision in enumerate(episode.decisions)
    ]


def _samples(episode: Episode, batch: TrajectoryBatch, row: int) -> list[Sample]:
    """The replies of an episode, which is a row of the batch."""
    log_pf, log_ref = batch.log_pf[row].tolist(), batch.log_ref[row].tolist()
    return samples_of(episode, log_pf, log_ref, batch.log_reward[row].item())


def _sampled_less_scored(episodes: Sequence[Episode], scores: StepScores) -> Tensor:
    """[M] of each token that these episodes sampled, nats; their scores come first."""
    sampled = [
        log_prob
        for episode in episodes
        for decision in episode.decisions
        for log_prob, segment in zip(decision.reply.log_probs, decision.reply.segment, strict=True)
        if segment is not Segment.CONTEXT
    ]
    scored = scores.token_log_prob.detach()[: len(sampled)].cpu()
    return torch.tensor(sampled, dtype=scored.dtype) - scored
