"""No sequence grows beyond the model's context."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.reply import format_reply

Observe = Callable[..., Observation]
MakePolicy = Callable[..., VLMPolicy]
PLACES = tuple(f"go to place {n}" for n in range(20))


@pytest.mark.parametrize(
    "history",
    [{}, {"layout": "rewritten"}, {"layout": "rewritten", "history_length": 1}],
    ids=["transcript", "rewritten", "shortened"],
)
def test_the_room_is_what_is_left_once_the_next_turn_has_been_said(
    history: dict[str, object], llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    policy = adapted(llava_folder, **history, context_tokens=6000)
    session = policy.session([EpisodeKey(7, 0)])
    left = []
    for turn in range(3):
        # the second turn lists far more than a reply may have tokens
        seen = observe(0, turn, PLACES if turn else PLACES[:2])
        left.append(session.room(0, seen))
        session.reply({0: seen})
        row = session.rows(0)[-1]
        assert left[-1] == 6000 - (row.state_at[row.num_decisions - 1] + 1)
    assert left[1] < left[0] - policy.settings.max_reply_tokens


def test_a_sequence_beyond_the_context_is_refused_in_one_line(
    llava_folder: Path, observe: Observe, adapted: MakePolicy
) -> None:
    seen, said = observe(0, 0), format_reply({}, "so", "shelf 2")
    (row,) = adapted(llava_folder).rows_of_episode([seen] * 2, [said] * 2)
    tokens, first = len(row.input_ids), row.state_at[0] + 1
    whole = adapted(llava_folder, context_tokens=tokens)
    assert len(whole.rows_of_episode([seen] * 2, [said] * 2)) == 1
    short = adapted(llava_folder, context_tokens=tokens - 1)
    with pytest.raises(UserError, match=f"game of {tokens} tokens, expected at most {tokens - 1}"):
        short.rows_of_episode([seen] * 2, [said] * 2)
    tiny = adapted(llava_folder, context_tokens=first - 1).session([EpisodeKey(7, 0)])
    with pytest.raises(UserError, match=f"prompt or game of {first} tokens"):
        tiny.reply({0: seen})
