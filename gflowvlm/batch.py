"""The tensors that travel between stages.

Letters: N rows, S tokens of the longest row, B episodes, T decisions of the longest episode,
D decisions in all rows, M sampled tokens in all rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from gflowvlm.episode import Segment


@dataclass(frozen=True, kw_only=True)
class Row:
    """One token sequence and where its decisions lie.

    An episode is one row in the layouts transcript and news and one per decision in the others.

    Token ids are kept as sampled: decoding and encoding again need not give the same ids.
    """

    input_ids: tuple[int, ...]  # [S]
    decision_of: tuple[int, ...]  # [S]    which decision a sampled token belongs to, -1 = context
    segment: tuple[int, ...]  # [S]        episode.Segment of each token
    state_at: tuple[
        int, ...
    ]  # [T]    position where h_t is read: last context token before reply t
    vision: tuple[Mapping[str, Tensor], ...]  # the processor's tensors, turn by turn
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


def up_to_last_state(episode: Sequence[Row]) -> tuple[Row, ...]:
    """The rows of an episode without its last reply: they end where h_{T-1} is read.

    What the last reply of a cut episode led to was never shown to the policy, so that no flow can
    be read there as it is read of every other history.
    """
    *before, last = episode
    stop, states = last.state_at[-2] + 1, last.state_at[:-1]
    shorter = replace(
        last,
        input_ids=last.input_ids[:stop],
        decision_of=last.decision_of[:stop],
        segment=last.segment[:stop],
        state_at=states,
        allowed={position: ids for position, ids in last.allowed.items() if position < stop},
        token_types=None if last.token_types is None else last.token_types[:stop],
    )
    return (*before, shorter)


def last_decision_alone(episode: Sequence[Row], *, thought_alone: bool = False) -> Row:
    """An episode's last reply, all before it context; without its action where thoughts count."""
    row = episode[-1]
    last = row.num_decisions - 1
    counts = [
        decision == last and not (thought_alone and segment == Segment.ACTION)
        for decision, segment in zip(row.decision_of, row.segment, strict=True)
    ]
    segments = zip(counts, row.segment, strict=True)
    return replace(
        row,
        decision_of=tuple(0 if count else -1 for count in counts),
        segment=tuple(segment if count else Segment.CONTEXT for count, segment in segments),
        state_at=row.state_at[last:],
    )


@dataclass(frozen=True, kw_only=True)
class StepScores:
    """What a policy says of the decisions of some rows, rows one after the other."""

    thought_log_prob: Tensor  # [D]  sum over the thought's tokens, nats, float32 or better
    action_log_prob: Tensor  # [D]   sum over the action's tokens, nats
    entropy: Tensor  # [D]           sum of the sampled tokens' entropies, nats, no gradient
    flow: Tensor | None  # [D + E]   log F at the rows' states, E of which end an episode; float32,
    #                              or None without a head
    value: Tensor | None = None  # [D + E]  what is expected to be earned from the rows' states on,
    #                                       nats, or None without a head
    token_log_prob: Tensor  # [M]    each sampled token, nats
    token_decision: Tensor  # [M]    int64, which of the D decisions it belongs to
    log_p_done: Tensor | None = None  # [D]  log-prob of DONE in place of each reply, nats, or None
    #                                        where DONE is forbidden; NaN before a given reply
    out_flow: Tensor | None = None  # [D + E]  log of all actions' flows summed at the rows' states,
    #                                          or None where actions have no flow of their own
    outcome_log_prob: Tensor | None = None  # [D, O]  of each thing that may follow a reply, -inf
    #                                         for none, or None where outcomes cannot be enumerated
    outcome_flow: Tensor | None = None  # [D, O]  log F of the histories they lead to
    outcome_log_reward: Tensor | None = None  # [D, O]  log R of those that have ended, else NaN


def concatenate(parts: Sequence[StepScores]) -> StepScores:
    """Scores of several passes as if their rows had been scored in one."""
    before, decisions = 0, []
    for part in parts:
        decisions.append(part.token_decision + before)
        before += len(part.action_log_prob)
    joined = {"token_decision": torch.cat(decisions)}
    for name in (each.name for each in fields(StepScores) if each.name != "token_decision"):
        values = [value for part in parts if (value := getattr(part, name)) is not None]
        assert len(values) in (0, len(parts)), f"some parts have {name} and some have none"
        if values:
            joined[name] = torch.cat(values)
    return StepScores(**{"flow": None, **joined})


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
    log_out_flow: Tensor | None = None  # [B, T+1]  log of all actions' flows summed at a history
    outcome_log_prob: Tensor | None = None  # [B, T, O]  of what may follow a decision, -inf = none
    outcome_log_flow: Tensor | None = None  # [B, T, O]  log F of the history it leads to
    outcome_log_reward: Tensor | None = None  # [B, T, O]  log R where it has ended, else NaN
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
            *("log_flow", "log_reward_to_date", "log_out_flow"),
            *("log_p_done", "log_ref_done", "log_reward_done"),
        ):
            value = getattr(self, name)
            assert value is None or value.shape == (rows, steps + 1), name
        for name in ("outcome_log_prob", "outcome_log_flow", "outcome_log_reward"):
            value = getattr(self, name)
            assert value is None or value.shape[:2] == (rows, steps), name
        assert bool(((self.length >= 1) & (self.length <= steps)).all()), "length"

    @property
    def valid(self) -> Tensor:
        """[B, T] bool: True where a decision is real."""
        steps = torch.arange(self.log_pf.shape[1], device=self.length.device)
        return steps[None] < self.length[:, None]
