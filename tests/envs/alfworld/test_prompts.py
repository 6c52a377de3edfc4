from collections.abc import Callable, Sequence
from typing import Any

from gflowvlm.prompting.messages import turns_of
from gflowvlm.rollouts.environments import observe


def test_the_turns_of_a_game_tell_all_admissible_commands_and_are_far_shorter_than_the_lists(
    make: Callable[..., Any], actions_told: Callable[[Sequence[str]], list[set[str]]]
) -> None:
    env = make(expert="searcher")
    saved = []
    for seed in range(4):
        seen, ended = [observe(*env.reset(seed=seed))], False
        while not ended:
            move = env.expert(0.2)
            pixels, _, ended, _, info = env.step(move.action)
            seen.append(observe(pixels, info))
        turns = turns_of("transcript", seen, ["so"] * len(seen), thought=True)
        texts = [turn.text for turn in turns]
        assert actions_told(texts) == [set(each.legal_actions) for each in seen]
        lists = sum(len(", ".join(each.legal_actions)) for each in seen)
        saved.append(sum(map(len, texts)) / lists)
    assert min(saved) < 0.5
