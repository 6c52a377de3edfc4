"""The trainer of every run, put together for tests, and a real model small enough to enumerate."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from gflowvlm.baselines.reinforcement import build_policy_gradient
from gflowvlm.config.reinforcement import ReinforcementConfig
from gflowvlm.config.schedule import Schedule
from gflowvlm.config.training import TrainerConfig
from gflowvlm.exact.tree import History, Tree, enumerate_tree
from gflowvlm.objectives.base import Objective
from gflowvlm.policy.base import Policy
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import LogLinear, RewardMap
from gflowvlm.trainer.balance import BalanceTraining
from gflowvlm.trainer.loop import Trainer
from gflowvlm.trainer.offpolicy import OffPolicy
from gflowvlm.trainer.optimizer import build_optimizer
from gflowvlm.trainer.player import GroupPlayer
from gflowvlm.trainer.reinforcement import ReinforcementTraining

RUN_SEED = 3
STEADY = Schedule(start=1.0, end=1.0, over=0)


def _player(
    make: Callable[[], gymnasium.Env[Any, Any]],
    config: TrainerConfig,
    *,
    uses_prefixes: bool,
    seed: int = RUN_SEED,
    room_needed: int = 1,
) -> GroupPlayer:
    return GroupPlayer(
        collector=Collector(
            make=make,
            environment_id="test",
            split="id",
            run_seed=seed,
            room_needed=room_needed,
        ),
        groups_per_update=config.groups_per_update,
        group_size=config.group_size,
        uses_prefixes=uses_prefixes,
    )


def _trainer(
    policy: Policy,
    method: BalanceTraining | ReinforcementTraining,
    config: TrainerConfig,
    run_dir: Path,
) -> Trainer:
    optimizer = build_optimizer(
        policy.parameter_groups(),
        learning_rate=config.learning_rate,
        head_learning_rate=config.head_learning_rate,
        weight_decay=0.0,
    )
    parts: dict[str, Any] = {"policy": policy, "method": method, "optimizer": optimizer}
    return Trainer(**parts, config=config, run_dir=run_dir)


def _build(
    policy: Policy,
    objective: Objective,
    run_dir: Path,
    *,
    make: Callable[[], gymnasium.Env[Any, Any]],
    reward: RewardMap,
    learning_rate: float,
    head_learning_rate: float | None = None,
    thought_weight: float = 1.0,
    exploration: Schedule = STEADY,
    off_policy: OffPolicy | None = None,
    rescore_tolerance: float = 1e-9,
    seed: int = RUN_SEED,
    **settings: Any,
) -> Trainer:
    usual = {
        "groups_per_update": 8,
        "group_size": 4,
        "rows_per_pass": 64,
        "max_grad_norm": 1e6,
        "schedule": "linear",
        "checkpoint_every": 10_000,
        "log_every": 100,
    }
    config = TrainerConfig(
        learning_rate=learning_rate,
        head_learning_rate=head_learning_rate or learning_rate,
        **{**usual, **settings},
    )
    method = BalanceTraining(
        policy=policy,
        player=_player(make, config, uses_prefixes=objective.uses_prefixes, seed=seed),
        reward=reward,
        objective=objective,
        alpha=1.0,
        beta=STEADY,
        thought_weight=thought_weight,
        rows_per_pass=config.rows_per_pass,
        exploration_temperature=exploration,
        off_policy=off_policy or OffPolicy(run_seed=seed),
        rescore_tolerance=rescore_tolerance,
    )
    return _trainer(policy, method, config, run_dir)


REWARD = LogLinear(success=0.0, failure=-1.5, step_cost=0.4, floor=-40.0)


def _number_line(**size: int) -> gymnasium.Env[Any, Any]:
    environment = make_environment(
        "gflowvlm/NumberLine-v0", "id", {"low": 0, "high": 2, "limit": 3, **size}
    )
    game: Any = environment.unwrapped
    drawn = lru_cache(maxsize=None)(game._draw)  # drawing would take most of the time
    game._draw = lambda state: drawn(state).copy()
    return environment


def _log_reward(history: History) -> float:
    """The reward map of the run, worked out from states instead of from an episode."""
    first: Any = history.states[0]
    last: Any = history.states[-1]
    distance = abs(last.target - last.current)
    extra = last.steps + distance - abs(first.target - first.current)
    return (REWARD.success if distance == 0 else REWARD.failure) - REWARD.step_cost * extra


@pytest.fixture(scope="session")
def number_line() -> Callable[..., gymnasium.Env[Any, Any]]:
    """Makes NumberLine 0-2 with three moves, or of another size."""
    return _number_line


@pytest.fixture(scope="session")
def reward() -> LogLinear:
    """A reward whose law is spread out."""
    return REWARD


@pytest.fixture(scope="session")
def log_reward() -> Callable[[History], float]:
    """The same of a history."""
    return _log_reward


@pytest.fixture(scope="session")
def tree() -> Tree:
    """All of `number_line` under `reward`; the reference steps down seven times in ten."""
    game: Any = _number_line().unwrapped
    return enumerate_tree(game, _log_reward, lambda history, legal: list(np.log([0.7, 0.3])))


@pytest.fixture(scope="session")
def build_trainer() -> Callable[..., Trainer]:
    """A trainer of any policy on any game, at alpha = beta = 1; no updates done yet."""
    return _build


def _reinforce(
    policy: Policy,
    config: ReinforcementConfig,
    run_dir: Path,
    *,
    make: Callable[[], gymnasium.Env[Any, Any]],
    reward: RewardMap,
    beta: float = 1.0,
    room_needed: int = 1,
    rescore_tolerance: float = 1e-9,
    **settings: Any,
) -> Trainer:
    usual = {"max_grad_norm": 1e6, "schedule": "linear", "samples_every": 0}
    trained = TrainerConfig(**{**usual, **settings})
    gradient = build_policy_gradient(config, thought_weight=1.0)
    method = ReinforcementTraining(
        policy=policy,
        player=_player(
            make, trained, uses_prefixes=gradient.uses_prefixes, room_needed=room_needed
        ),
        reward=reward,
        method=gradient,
        epochs=config.epochs,
        minibatches=config.minibatches,
        kl_coefficient=config.kl_coefficient,
        alpha=1.0,
        beta=Schedule(start=beta, end=beta, over=0),
        thought_weight=1.0,
        rows_per_pass=trained.rows_per_pass,
        rescore_tolerance=rescore_tolerance,
    )
    return _trainer(policy, method, trained, run_dir)


@pytest.fixture(scope="session")
def reinforce() -> Callable[..., Trainer]:
    """A trainer by policy gradients, at alpha = 1; no updates done yet."""
    return _reinforce


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} "
    "{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
PIECES = ('{"action": "', '{"thoughts": "', 'so", "action"', 'no", "action"', ': "', '"}')
"""All that a reply can be made of, besides the letters of actions; the rest is unknown to it."""
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def _tokenizer() -> Any:
    """Ten words; whatever lies between them in a prompt is one unknown token."""
    words = [*PIECES, "a", "b", "c"]
    inner = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*words, "<unk>"])}, unk_token="<unk>")
    )
    escaped = "|".join(word.replace("{", r"\{").replace("}", r"\}") for word in words)
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(escaped), "isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|reserved|>"])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of a few thousand sharpened weights, whose whole replies can be counted."""
    folder = tmp_path_factory.mktemp("toy")
    tokenizer = _tokenizer()
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(image_size=8, patch_size=4, **SIZES),
        text_config=transformers.LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=512, **SIZES
        ),
        vision_feature_layer=-1,
        image_token_index=tokenizer.image_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlavaForConditionalGeneration(config)
        with torch.no_grad():  # initial weights give nearly flat logits
            for parameter in model.parameters():
                if parameter.ndim >= 2:
                    scale = 1.6 / parameter[0].numel() ** 0.5
                    parameter.copy_(torch.randn(parameter.shape) * scale)
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(
            size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}
        ),
        tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHATML,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
