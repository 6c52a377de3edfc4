"""No sequence grows beyond the model's context."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gflowvlm.baselines.conversations import Conversation
from gflowvlm.episode import Observation
from gflowvlm.errors import ContextExceeded, UserError
from gflowvlm.launch.supervised import longest_row
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.expert import WHOLE_REPLY, TaughtTurn
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


def test_of_a_stored_game_beyond_the_context_the_first_turns_count(
    llava_folder: Path, adapted: MakePolicy, caplog: pytest.LogCaptureFixture
) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    turns = [TaughtTurn(image=picture, text=text, reply="so it is") for text in "abc"]
    game = Conversation(source="expert", episode=9, turns=turns)
    begun = Conversation(source="expert", episode=9, turns=turns[:2])
    policy = adapted(llava_folder)
    tokens = len(longest_row(policy, begun, WHOLE_REPLY).input_ids)
    assert not caplog.messages
    short = adapted(llava_folder, context_tokens=tokens)
    assert len(longest_row(short, game, WHOLE_REPLY).input_ids) == tokens
    assert caplog.messages == [
        f"episode 9: its last 1 of 3 turns lie beyond the model's context of {tokens} tokens; "
        "they do not count"
    ]
    with pytest.raises(ContextExceeded):
        longest_row(adapted(llava_folder, context_tokens=4), game, WHOLE_REPLY)
