"""The rows of supervised fine-tuning: an expert's games, with general skills mixed in."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, load_from_disk
from numpy.random import default_rng

from gflowvlm.baselines.expert import EXPERT, Exchange, expert_games, from_dataset, to_dataset
from gflowvlm.batch import Row
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.pocket.pictures import Pen
from gflowvlm.pocket.skills import converse
from gflowvlm.policy.expert import TaughtTurn
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.processes import Processes
from gflowvlm.rollouts.collect import plan_groups
from gflowvlm.rollouts.environments import facts_of, make_environment

DATA_FOLDER = "data"
LONGEST_GENERAL_CONVERSATION = 8  # turns


def supervised_rows(config: RunConfig, policy: VLMPolicy, processes: Processes) -> list[Row]:
    """Rows of the run's data set; the main process makes and stores it in the run's folder."""
    section = config.objective
    assert isinstance(section, SupervisedFineTuning)
    folder = processes.from_main(lambda: store_dataset(config, section))
    dataset = load_from_disk(str(folder))
    assert isinstance(dataset, Dataset)
    rows = []
    for source, exchanges in from_dataset(dataset):
        turns = [TaughtTurn(image=e.image, text=e.text, reply=e.reply) for e in exchanges]
        parts = section.loss_on if source == EXPERT else ("fields", "thought", "action")
        rows.append(policy.row_of_turns(turns, loss_on=parts))
    return rows


def store_dataset(config: RunConfig, section: SupervisedFineTuning) -> Path:
    """Folder of the run's data set, in TRL's conversational vision format; kept if it exists."""
    folder: Path = config.run_dir / DATA_FOLDER
    if not folder.exists():
        dataset = to_dataset(_conversations(config, section))
        partial_folder = folder.with_name(f".{DATA_FOLDER}.partial")
        dataset.save_to_disk(str(partial_folder))
        partial_folder.rename(folder)
    return folder


def _conversations(
    config: RunConfig, section: SupervisedFineTuning
) -> Iterator[tuple[str, list[Exchange]]]:
    environment = config.environment
    make = partial(make_environment, environment.id, environment.train_split, environment.kwargs)
    plans = plan_groups(config.seed, "expert", first_group=0, groups=section.episodes, group_size=1)
    games = expert_games(
        make,
        seeds=[plan.seed for plan in plans],
        mistakes=section.mistakes,
        done_share=section.done_share,
        done_at=section.done_at,
        check=partial(_stays_in_split, make().unwrapped),
    )
    for game in games:
        yield EXPERT, game
    rng = default_rng([config.seed, 11])
    for _ in range(round(section.general_share * section.episodes)):
        turns = int(rng.integers(1, LONGEST_GENERAL_CONVERSATION + 1))
        conversation = converse(Pen(rng, 1.0), turns)
        yield (
            conversation[0].skill,
            [
                Exchange(image=turn.image, text=turn.question, reply=turn.reply)
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
