import pytest
import torch

from gflowvlm.baselines.sft import SupervisedTraining, token_loss
from gflowvlm.batch import Row, StepScores


def row(*learned: bool) -> Row:
    return Row(
        input_ids=tuple(range(len(learned))),
        decision_of=tuple(0 if one else -1 for one in learned),
        segment=tuple(2 if one else 0 for one in learned),
        state_at=(0, len(learned) - 1),
        vision=(),
        allowed={},
    )


def scores(*log_probs: float) -> StepScores:
    values = torch.tensor(log_probs)
    return StepScores(
        thought_log_prob=values[:1],
        action_log_prob=values[:1],
        entropy=values[:1],
        flow=None,
        token_log_prob=values,
        token_decision=torch.zeros(len(values), dtype=torch.int64),
    )


def test_the_loss_is_the_mean_over_tokens() -> None:
    # (0.5 + 1.0 + 3.0) / 3 = 1.5
    assert token_loss(scores(-0.5, -1.0, -3.0), slice(0, 1)).loss.item() == pytest.approx(1.5)


def test_a_slice_weighs_as_many_tokens_as_it_teaches() -> None:
    episodes = [[row(False, True)], [row(True, True, True), row(True)]]
    [work] = SupervisedTraining(episodes=episodes, episodes_per_update=2, seed=0).prepare(0)
    taught = [sum(d >= 0 for r in episode for d in r.decision_of) for episode in work.episodes]
    assert sorted(taught) == [1, 4]
    assert work.share(slice(0, 1)) == taught[0] / 5
    assert work.share(slice(0, 2)) == 1.0


def test_every_episode_is_seen_once_an_epoch_in_an_order_of_its_own() -> None:
    episodes = [[row(True)] for _ in range(10)]
    training = SupervisedTraining(episodes=episodes, episodes_per_update=5, seed=1)
    seen = [work.episodes for update in range(4) for work in training.prepare(update)]
    number = {id(r): i for i, r in enumerate(episodes)}
    first = [number[id(r)] for part in seen[:2] for r in part]
    second = [number[id(r)] for part in seen[2:] for r in part]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
