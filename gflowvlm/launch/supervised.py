"""The rows of supervised fine-tuning: an expert's games, with general skills mixed in."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, load_from_disk
from numpy.random import default_rng

from gflowvlm.baselines.conversations import (
    EXPERT,
    Conversation,
    from_dataset,
    rows_of_episodes,
    to_dataset,
)
from gflowvlm.baselines.expert import conversations_of, expert_games
from gflowvlm.batch import Row
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.errors import ContextExceeded, UserError
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.skills import converse
from gflowvlm.policy.expert import WHOLE_REPLY, LossOn, TaughtTurn
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.processes import Processes
from gflowvlm.rollouts.environments import facts_of, make_environment
from gflowvlm.rollouts.plan import plan_groups

LOG = logging.getLogger(__name__)
DATA_FOLDER = "data"
LONGEST_GENERAL_CONVERSATION = 8  # turns


@dataclass(frozen=True, kw_only=True)
class StoredEpisodes(Sequence[Sequence[Row]]):
    """The rows of each episode of a data set, made whenever they are asked for.

    A picture as the model takes it in has ten times the size of its file: those of a data set of
    any size would not fit into memory.
    """

    folder: Path  # where it lies
    dataset: Dataset
    places: Sequence[range]  # of each episode's rows in the data set
    row: Callable[[Conversation], Row]

    def __len__(self) -> int:
        """How many episodes there are."""
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        """The rows of an episode.

        Raises:
            UserError: they are no conversations that can be learned from.
        """
        try:
            return [self.row(each) for each in from_dataset(self.dataset, self.places[index])]
        except UserError as error:
            raise UserError(f"{self.folder}: {error}: mend the row, then --resume") from error


def supervised_episodes(
    config: RunConfig, policy: VLMPolicy, processes: Processes
) -> StoredEpisodes:
    """The run's data set, which all processes make together."""
    section = config.objective
    assert isinstance(section, SupervisedFineTuning)

    def row(conversation: Conversation) -> Row:
        parts = section.loss_on if conversation.source == EXPERT else WHOLE_REPLY
        return longest_row(policy, conversation, parts)

    folder = store_dataset(config, section, processes)
    dataset = _stored(folder)
    places = rows_of_episodes(dataset)
    return StoredEpisodes(folder=folder, dataset=dataset, places=places, row=row)


def longest_row(policy: VLMPolicy, conversation: Conversation, loss_on: LossOn) -> Row:
    """The row of a conversation, or of as many of its first turns as the model can read.

    An expert's game may be longer than the context, and what it begins with is right all the same.
    Every cut is told in a line of the log.

    Raises:
        ContextExceeded: even the first turn is too long.
    """
    turns = list(conversation.turns)
    while True:
        try:
            row = policy.row_of_turns(turns, loss_on=loss_on)
            break
        except ContextExceeded:
            if len(turns) <= 1:
                raise
            turns.pop()
    if cut := len(conversation.turns) - len(turns):
        LOG.warning(
            f"episode {conversation.episode}: its last {cut} of {len(conversation.turns)} turns "
            f"lie beyond the model's context of {policy.context_tokens} tokens; they do not count"
        )
    return row


def store_dataset(config: RunConfig, section: SupervisedFineTuning, processes: Processes) -> Path:
    """Folder of the run's data set, in TRL's conversational vision format; kept if it exists.

    Every process plays its share of the games; the set is what one alone would make.
    """
    folder: Path = config.run_dir / DATA_FOLDER
    if processes.from_main(folder.exists):
        return folder
    parts = [folder.with_name(f".{DATA_FOLDER}.{n}.partial") for n in range(processes.count)]
    own = to_dataset(_games(config, section, processes.deal(range(section.episodes))))
    own.save_to_disk(str(parts[processes.index]))
    processes.gather(None)  # all parts are there
    if processes.main:
        made = [*map(_stored, parts), to_dataset(_general(config, section))]
        whole = concatenate_datasets(made)
        partial_folder = folder.with_name(f".{DATA_FOLDER}.partial")
        whole.save_to_disk(str(partial_folder))
        partial_folder.rename(folder)
        for part in parts:
            shutil.rmtree(part)
    processes.gather(None)  # the whole is
    return folder


def _stored(folder: Path) -> Dataset:
    dataset = load_from_disk(str(folder))
    assert isinstance(dataset, Dataset)
    return dataset


def _games(
    config: RunConfig, section: SupervisedFineTuning, numbers: Sequence[int]
) -> Iterator[Conversation]:
    """Some of the expert's games, in the run's layout."""
    environment, layout = config.environment, config.policy.layout
    make = partial(make_environment, environment.id, environment.train_split, environment.kwargs)
    plans = plan_groups(config.seed, "expert", first_group=0, groups=section.episodes, group_size=1)
    games = expert_games(
        make,
        seeds=[plans[number].seed for number in numbers],
        mistakes=section.mistakes,
        done_share=section.done_share,
        done_at=section.done_at,
        layout=layout,
        history_length=config.policy.history_length,
        thought=config.policy.thought,
        check=partial(_stays_in_split, make().unwrapped),
    )
    for episode, game in zip(numbers, games, strict=True):
        yield from conversations_of(game, layout, episode=episode)


def _general(config: RunConfig, section: SupervisedFineTuning) -> Iterator[Conversation]:
    """General skills, as they are."""
    rng = default_rng([config.seed, 11])
    for number in range(round(section.general_share * section.episodes)):
        turns = int(rng.integers(1, LONGEST_GENERAL_CONVERSATION + 1))
        conversation = converse(Pen(rng, 1.0), turns)
        yield Conversation(
            source=conversation[0].skill,
            episode=section.episodes + number,
            turns=[
                TaughtTurn(image=turn.image, text=turn.question, reply=turn.reply)
                for turn in conversation
            ],
        )


def _stays_in_split(environment: Any, info: dict[str, Any]) -> None:
    """No number outside the training split may be shown: generalisation is measured there."""
    high = getattr(environment, "high", None)
    if high is None:
        return
    for name, truth in facts_of(info).items():
        assert not truth.isdecimal() or int(truth) <= high, f"{name} {truth} is above {high}"
