"""From a checked configuration to the parts of a run."""

from functools import partial

import torch
from accelerate import Accelerator
from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

from gflowvlm.baselines.sft import SupervisedTraining
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.errors import UserError
from gflowvlm.launch.supervised import supervised_episodes
from gflowvlm.objectives.build import build_objective
from gflowvlm.pocket.folder import find_adapter, find_model
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.reward import build_reward
from gflowvlm.trainer.balance import BalanceTraining
from gflowvlm.trainer.loop import Method

RESCORE_TOLERANCE = {"float32": 0.01, "bfloat16": 0.5}  # nats a token


def build_policy(config: RunConfig, device: torch.device) -> VLMPolicy:
    """The model, its adapter and its reference, as the configuration says."""
    section = config.policy
    objective = config.objective
    supervised = isinstance(objective, SupervisedFineTuning)
    settings = PolicySettings(
        temperature=section.temperature,
        actions=section.actions,
        layout=section.layout,
        max_reply_tokens=section.max_reply_tokens,
        flow_head=not supervised and build_objective(objective).needs_flow,
        rank=section.lora.rank,
        lora_alpha=section.lora.alpha,
        targets=section.lora.targets,
        gradient_checkpointing=section.gradient_checkpointing,
    )
    torch.manual_seed(config.seed)  # LoRA's and the head's first weights
    return VLMPolicy.from_folder(
        find_model(section.model),
        settings,
        start_adapter=None if section.start is None else find_adapter(section.start),
        dtype=getattr(torch, section.dtype),
        device=device if section.device == "auto" else section.device,
        attention=section.attention,
    )


def build_collector(config: RunConfig, split: str, *, batch_size: int = 64) -> Collector:
    """Plays the run's environment on a split."""
    make = partial(make_environment, config.environment.id, split, config.environment.kwargs)
    make().close()  # a wrong name should fail here, before anything is loaded or played
    return Collector(
        make=make,
        environment_id=config.environment.id,
        split=split,
        run_seed=config.seed,
        room_needed=2 * config.policy.max_reply_tokens,
        batch_size=batch_size,
    )


def build_method(config: RunConfig, policy: VLMPolicy) -> Method:
    """Where the rows come from, and what judges them."""
    settings = config.trainer
    if isinstance(config.objective, SupervisedFineTuning):
        return SupervisedTraining(
            episodes=supervised_episodes(config, policy),
            episodes_per_update=settings.groups_per_update * settings.group_size,
            seed=config.seed,
        )
    return BalanceTraining(
        policy=policy,
        collector=build_collector(config, config.environment.train_split),
        reward=build_reward(config.reward),
        objective=build_objective(config.objective),
        alpha=config.alpha,
        beta=config.beta,
        thought_weight=config.policy.thought_weight,
        groups_per_update=settings.groups_per_update,
        group_size=settings.group_size,
        rows_per_pass=settings.rows_per_pass,
        exploration_temperature=config.exploration_temperature,
        rescore_tolerance=RESCORE_TOLERANCE[config.policy.dtype],
    )


def one_process() -> Accelerator:
    """The accelerator of a run on a single process, with other libraries' bars switched off."""
    _quiet_libraries()
    accelerator = Accelerator()
    if accelerator.num_processes > 1:
        raise UserError(
            f"found {accelerator.num_processes} processes, expected 1: training on several is "
            "not there yet, launch with --num_processes 1"
        )
    return accelerator


def _quiet_libraries() -> None:
    """Switch off the loading bars of other libraries; they tell a user nothing about the run."""
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
