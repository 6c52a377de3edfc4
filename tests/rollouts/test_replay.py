from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gflowvlm.batch import Row
from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply, Segment
from gflowvlm.errors import UserError
from gflowvlm.rollouts.replay import Replay, Trajectory
from gflowvlm.rollouts.reward import LogReward

WORDS = ("-", "+")


def picture(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number, np.uint8)


def trajectory(
    start: int, actions: str, log_reward: float, thought: int = 0, last: int = 99
) -> Trajectory:
    """Steps from picture `start` on, `?` an invalid reply; every object made anew.

    The picture shown before the second action is `last`.
    """
    decisions = []
    for step, word in enumerate(actions):
        seen = Observation(
            image=picture(start if step == 0 else last), task="go", text="", legal_actions=WORDS
        )
        action = None if word == "?" else WORDS.index(word)
        reply = Reply(
            text=f"{thought}{word}",
            token_ids=(thought, 7),
            segment=(Segment.THOUGHT, Segment.ACTION),
            log_probs=(-1.0, -2.0),
            action=action,
        )
        decisions.append(Decision(observation=seen, reply=reply, reward=0.0))
    steps = len(actions)
    return Trajectory(
        episode=Episode(
            environment="game",
            split="id",
            seed=0,
            group=0,
            index=thought,
            decisions=tuple(decisions),
            ending=Ending.TERMINATED,
            success=log_reward >= 0,
        ),
        rows=[
            Row(
                input_ids=(thought, 7) * steps,
                decision_of=tuple(step for step in range(steps) for _ in range(2)),
                segment=(Segment.THOUGHT, Segment.ACTION) * steps,
                state_at=tuple(range(steps + 1)),
                vision=tuple(
                    {"pixels": torch.from_numpy(d.observation.image).float()} for d in decisions
                ),
                allowed={1: (7, 8)},
            )
        ],
        reward=LogReward((0.0,) * steps + (log_reward,)),
        log_ref=torch.full((steps,), -0.5),
        log_ref_done=torch.zeros(steps),
    )


def replay(capacity: int = 100, per_start: int = 100, priority: float = 1.0) -> Replay:
    return Replay(capacity=capacity, per_start=per_start, priority=priority)


def rewards(held: Replay) -> list[float]:
    return [each.reward.total for each in held]


def test_other_thoughts_with_the_same_actions_are_no_new_solution() -> None:
    held = replay()
    for thought in range(3):
        held.add(trajectory(0, "++", 0.0, thought=thought))
    held.add(trajectory(0, "+?", -8.0))
    held.add(trajectory(0, "+", -8.0))  # not what "+?" is: there a reply was invalid
    assert len(held) == 3
    assert held.solutions == 1
    newest = next(iter(held)).episode.decisions[0].reply.text
    assert newest == "2+"
    held.add(trajectory(1, "++", 0.0))  # another start, another solution
    assert held.solutions == 2


def test_a_full_start_gives_up_its_least_reward_and_the_older_of_equals() -> None:
    held = replay(per_start=3)
    for thought, (actions, value) in enumerate(
        [("+", -2.0), ("-", -5.0), ("--", -5.0), ("++", 0.0), ("-+", -7.0)]
    ):
        held.add(trajectory(0, actions, value, thought=thought))
    # -7 never gets in; of the two with -5 the first had to go for 0
    assert [each.way for each in held] == [(1,), (0, 0), (1, 1)]


def test_a_full_replay_takes_from_the_start_that_holds_most() -> None:
    held = replay(capacity=4)
    held.add(trajectory(1, "+", -30.0))
    for actions, value in (("+", 0.0), ("-", -1.0), ("--", -2.0), ("++", -3.0)):
        held.add(trajectory(2, actions, value))
    assert len(held) == 4
    assert rewards(held) == [-30.0, 0.0, -1.0, -2.0]


def test_trajectories_of_a_start_are_drawn_by_reward_to_the_priority() -> None:
    share = {}
    for priority in (0.0, 0.5, 1.0):
        held = replay(priority=priority)
        held.add(trajectory(0, "+", 0.0))
        held.add(trajectory(0, "-", -2.0))
        rng = np.random.default_rng(0)
        draws = [held.draw(1, rng, most=1)[0].reward.total for _ in range(3000)]
        share[priority] = draws.count(0.0) / len(draws)
    # 1 / (1 + e^(-2 p)): 0.5, 0.731, 0.881; 4 standard errors are at most 0.037
    assert share == pytest.approx({0.0: 0.5, 0.5: 0.731, 1.0: 0.881}, abs=0.037)


def test_own_starts_come_first_and_no_group_is_larger_than_asked() -> None:
    held = replay()
    for start in range(4):
        for actions in ("+", "-", "--")[: start + 1]:
            held.add(trajectory(start, actions, 0.0))
    own = trajectory(0, "+", 0.0).start
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn = held.draw(5, rng, own=[own], most=2, least=2)
        assert [each.start for each in drawn].count(own) == 1
        sizes = [[each.start for each in drawn].count(each.start) for each in drawn]
        assert sizes == [1, 2, 2, 2, 2]  # start 0 joins the batch, none of the others is alone
        assert len({(each.start, each.way) for each in drawn}) == 5
    assert held.draw(5, np.random.default_rng(0), most=2, least=4) == []


def test_an_image_is_held_once_and_let_go_with_its_last_episode() -> None:
    held = replay(per_start=8)
    for actions in ("++", "+-", "-+", "--", "+?", "-?"):
        held.add(trajectory(0, actions, 0.0))
    images = [d.observation.image for each in held for d in each.episode.decisions]
    tensors = [image["pixels"] for each in held for row in each.rows for image in row.vision]
    assert len(images) == len(tensors) == 12
    assert len({id(image) for image in images}) == 2  # pictures 0 and 99
    assert len({tensor.data_ptr() for tensor in tensors}) == 2
    assert len(held._images) == 4
    del images, tensors
    small = replay(capacity=1)
    for start in range(5):
        small.add(trajectory(start, "+", 0.0))
    assert len(small._images) == 2


def test_chance_in_the_environment_is_found_by_the_same_actions() -> None:
    held = replay()
    held.add(trajectory(0, "++", 0.0, last=5))
    held.add(trajectory(0, "++", 0.0, last=5))
    for other in (trajectory(0, "++", 0.0, last=6), trajectory(0, "++", -1.0, last=5)):
        with pytest.raises(
            UserError, match=r"game: found the same actions .*other outcome, .*replay.share to 0"
        ):
            held.add(other)


def test_a_replay_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    held = replay(per_start=3)
    for start in (3, 1, 2):
        for actions, value in (("++", 0.0), ("-", -4.0), ("+-", -1.0), ("-+", -2.0)):
            held.add(trajectory(start, actions, value, thought=start))
    held.save(tmp_path / "replay.pt")
    again = replay(per_start=3)
    again.load(tmp_path / "replay.pt")
    assert len(again) == len(held) == 9
    for one, other in zip(held, again, strict=True):
        assert (one.start, one.way, one.reward) == (other.start, other.way, other.reward)
        assert torch.equal(one.log_ref, other.log_ref)
        assert [r.input_ids for r in one.rows] == [r.input_ids for r in other.rows]
        assert one.episode.decisions[0].reply == other.episode.decisions[0].reply
    a, b = (
        [each.way for each in kept.draw(6, np.random.default_rng(1), most=2)]
        for kept in (held, again)
    )
    assert a == b
    assert len(again._images) == len(held._images) == 8  # pictures 1, 2, 3 and 99, as two kinds


def test_a_file_that_is_no_replay_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replay.pt"
    with pytest.raises(UserError, match=r"no .*replay.pt, expected the replay"):
        replay().load(path)
    path.write_bytes(b"half")
    with pytest.raises(UserError, match=r"replay.pt is damaged"):
        replay().load(path)
    torch.save({"fields": {"Row": ["input_ids"]}, "trajectories": []}, path)
    with pytest.raises(UserError, match=r"another version"):
        replay().load(path)


def test_what_is_stored_no_longer_depends_on_the_environment_s_own_buffer() -> None:
    held, one = replay(), trajectory(0, "+", 0.0)
    held.add(one)
    one.episode.decisions[0].observation.image[:] = 200
    assert next(iter(held)).episode.decisions[0].observation.image.max() == 0
    assert replace(one).start != next(iter(held)).start
