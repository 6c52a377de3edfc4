"""The tensors that travel between stages.

Letters: N rows, S tokens of the longest row, B episodes, T decisions of the longest episode,
D decisions in all rows, M sampled tokens in all rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Row:
    """One token sequence and where its decisions lie.

    An episode is one row in the transcript layout and one per decision in the others.

    Token ids are kept as sampled: decoding and encoding again need not give the same ids.
    """

    input_ids: tuple[int, ...]  # [S]
    decision_of: tuple[int, ...]  # [S]    which decision a sampled token belongs to, -1 = context
    segment: tuple[int, ...]  # [S]        episode.Segment of each token
    state_at: tuple[
        int, ...
    ]  # [T]    position where h_t is read: last context token before reply t
    vision: tuple[Mapping[str, Tensor], ...]  # the processor's tensors of each image, opaque
    allowed: Mapping[int, tuple[int, ...]]  # position -> ids a constrained step could choose from
    token_types: tuple[int, ...] | None = None  # [S]  the processor's mm_token_type_ids, if any
    ends_episode: bool = True  # whether `state_at` has one more, the last token: h_T is read there

    @property
    def num_decisions(self) -> int:
        """T: replies in this row."""
        return len(self.state_at) - self.ends_episode


def rows_of(episodes: Iterable[Sequence[Row]]) -> list[Row]:
    """The rows of some episodes, one episode after the other."""
    return [row for episode in episodes for row in episode]


def row_with(episode: Sequence[Row], decision: int) -> tuple[Row, int]:
    """The row of an episode that holds one of its decisions, and which of the row's it is."""
    for row in episode:
        if decision < row.num_decisions:
            return row, decision
        decision -= row.num_decisions
    raise IndexError(f"{decision} decisions beyond the last row")


@dataclass(frozen=True, kw_only=True)
class StepScores:
    """What a policy says of the decisions of some rows, rows one after the other."""

    thought_log_prob: Tensor  # [D]  sum over the thought's tokens, nats, float32 or better
    action_log_prob: Tensor  # [D]   sum over the action's tokens, nats
    entropy: Tensor  # [D]           sum of the sampled tokens' entropies, nats, no gradient
    flow: Tensor | None  # [D + E]   log F at the rows' states, E of which end an episode; float32,
    #                              or None without a head
    token_log_prob: Tensor  # [M]    each sampled token, nats
    token_decision: Tensor  # [M]    int64, which of the D decisions it belongs to
    log_p_done: Tensor | None = None  # [D]  log-prob of DONE in place of each reply, nats, or None
    #                                        where DONE is forbidden; NaN before a given reply


def concatenate(parts: Sequence[StepScores]) -> StepScores:
    """Scores of several passes as if their rows had been scored in one."""
    before, decisions = 0, []
    for part in parts:
        decisions.append(part.token_decision + before)
        before += len(part.action_log_prob)
    flows = [part.flow for part in parts if part.flow is not None]
    assert len(flows) in (0, len(parts)), "some parts have flows and some have none"
    stops = [part.log_p_done for part in parts if part.log_p_done is not None]
    assert len(stops) in (0, len(parts)), "some parts may say DONE and some may not"
    return StepScores(
        thought_log_prob=torch.cat([part.thought_log_prob for part in parts]),
        action_log_prob=torch.cat([part.action_log_prob for part in parts]),
        entropy=torch.cat([part.entropy for part in parts]),
        flow=torch.cat(flows) if flows else None,
        token_log_prob=torch.cat([part.token_log_prob for part in parts]),
        token_decision=torch.cat(decisions),
        log_p_done=torch.cat(stops) if stops else None,
    )


@dataclass(frozen=True, kw_only=True)
class TrajectoryBatch:
    """Log-space quantities of B padded trajectories; `length[b]` decisions of row b are real.

    Padding may hold anything, NaN included.
    """

    log_pf: Tensor  # [B, T]       log P_F of each decision, nats
    log_pb: Tensor  # [B, T]       log P_B, zeros where histories make the graph a tree
    log_ref: Tensor  # [B, T]      log-prob of each decision under the frozen reference, nats
    log_reward: Tensor  # [B]      log R of the whole episode, nats, un-tempered
    length: Tensor  # [B]          int64, 1 <= length <= T
    group: Tensor  # [B]           int64, equal for episodes of one start
    ended: Tensor  # [B]           bool, False where the collector cut the episode
    log_flow: Tensor | None = None  # [B, T+1]  log F of the history before each decision
    log_reward_to_date: Tensor | None = None  # [B, T+1]  log-reward accrued so far, nats
    log_p_done: Tensor | None = None  # [B, T+1]  log-prob of DONE at each history, 0 once ended
    log_ref_done: Tensor | None = None  # [B, T+1]  the same under the frozen reference, nats
    log_reward_done: Tensor | None = None  # [B, T+1]  log R if DONE is said there, un-tempered
    said_done: Tensor | None = None  # [B]  bool, True where the last decision is DONE itself
    alpha: float = 1.0  # weight of the reference: target is R^beta * p_ref^alpha
    beta: float = 1.0  # inverse temperature of the reward

    def __post_init__(self) -> None:
        """Check shapes once, here; later stages trust them."""
        rows, steps = self.log_pf.shape
        for name in ("log_pb", "log_ref"):
            assert getattr(self, name).shape == (rows, steps), name
        for name in ("log_reward", "length", "group", "ended"):
            assert getattr(self, name).shape == (rows,), name
        for name in (
            *("log_flow", "log_reward_to_date"),
            *("log_p_done", "log_ref_done", "log_reward_done"),
        ):
            value = getattr(self, name)
            assert value is None or value.shape == (rows, steps + 1), name
        assert bool(((self.length >= 1) & (self.length <= steps)).all()), "length"

    @property
    def valid(self) -> Tensor:
        """[B, T] bool: True where a decision is real."""
        steps = torch.arange(self.log_pf.shape[1], device=self.length.device)
        return steps[None] < self.length[:, None]
