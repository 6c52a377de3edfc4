"""What a game's page says of balance, against arithmetic on paper."""

from typing import Any

import numpy as np
import pytest
import torch

from gflowvlm.batch import StepScores
from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply
from gflowvlm.report.record import Bookkeeping, sheet_of
from gflowvlm.rollouts.collect import Played
from gflowvlm.rollouts.reward import LogReward


class Policy:
    """Two decisions, scored as it is told; `log F` of the head is 1, 2 and, at the end, 3."""

    def score(self, rows: Any) -> StepScores:
        return self._scores(-2.0, -1.0)

    def score_reference(self, rows: Any) -> StepScores:
        return self._scores(-4.0, -3.0)

    def _scores(self, thought: float, action: float) -> StepScores:
        return StepScores(
            thought_log_prob=torch.tensor([thought, 0.0]),
            action_log_prob=torch.tensor([action, action]),
            entropy=torch.zeros(2),
            flow=torch.tensor([1.0, 2.0, 3.0]),
            token_log_prob=torch.zeros(2),
            token_decision=torch.tensor([0, 1]),
        )


def played(ending: Ending = Ending.TERMINATED) -> Played:
    decision = Decision(
        observation=Observation(
            image=np.zeros((2, 2, 3), np.uint8), task="", text="", legal_actions=("+",)
        ),
        reply=Reply(text="", token_ids=(), segment=(), log_probs=(), action=0),
        reward=0.0,
    )
    episode = Episode(
        environment="E",
        split="id",
        seed=0,
        group=0,
        index=0,
        decisions=(decision, decision),
        ending=ending,
        success=True,
    )
    return Played(episode=episode, rows=["row"])  # type: ignore[list-item]


def books(**others: Any) -> Bookkeeping:
    settings: dict[str, Any] = {
        **{"reward": lambda episode: LogReward(to_date=(0.0, -1.0, -4.0)), "alpha": 1.0},
        **{"beta": 2.0, "thought_weight": 0.5, "flows_at": "everywhere"},
        **{"forward_looking": True, "balances": True, "rows_per_pass": 4, **others},
    }
    return Bookkeeping(**settings)


def sheet(ending: Ending = Ending.TERMINATED, **others: Any) -> Any:
    policy: Any = Policy()
    return sheet_of(policy, played(ending), books(**others))


def test_a_forward_looking_game_is_accounted_as_on_paper() -> None:
    # log_pf: 0.5 * -2 - 1 = -2 and 0 - 1 = -1; log_ref: 0.5 * -4 - 3 = -5 and -3
    # S: 0, -2 + 5 = 3, 3 - 1 + 3 = 5; log F with 2 * l_t: 1, 2 - 2 = 0; beta log R = -8
    # a: 1 - 0, 0 - 3, -8 - 5
    found = sheet()
    assert (found.log_pf, found.log_ref) == ([-2.0, -1.0], [-5.0, -3.0])
    assert found.log_flow == [1.0, 0.0]
    assert found.level == [1.0, -3.0, -13.0]
    assert [found.residual(0, 1), found.residual(1, 2), found.residual(0, -1)] == [4.0, 10.0, 14.0]


def test_only_what_the_objective_learns_is_shown() -> None:
    assert sheet(forward_looking=False).log_flow == [1.0, 2.0]
    assert sheet(forward_looking=False, flows_at="starts").level == [1.0, None, -13.0]
    assert sheet(flows_at="nowhere").level == [None, None, -13.0]  # the log Z that it implies
    assert sheet(flows_at="nowhere", balances=False).level == [None, None, None]
    cut = sheet(Ending.TRUNCATED)
    assert cut.log_flow == [1.0, 0.0]
    assert cut.level == [None, None, None]  # no reward, so nothing to compare with


def test_alpha_weighs_the_reference() -> None:
    assert sheet(alpha=0.0).level[-1] == pytest.approx(-8 + 3)  # S_T = -2 - 1
