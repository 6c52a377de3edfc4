"""From a checked configuration to the parts of a run."""

from contextlib import ExitStack, closing
from functools import partial

import torch

from gflowvlm.baselines.expert import ExpertPlayer
from gflowvlm.baselines.reinforcement import build_policy_gradient
from gflowvlm.baselines.sft import SupervisedTraining
from gflowvlm.config.preference import PreferenceConfig
from gflowvlm.config.reinforcement import ReinforcementConfig
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.launch.preference import preference_method
from gflowvlm.launch.supervised import supervised_episodes
from gflowvlm.objectives.build import build_objective
from gflowvlm.pocket.folder import find_adapter, find_model
from gflowvlm.policy.base import Policy
from gflowvlm.policy.vlm import PolicySettings, VLMPolicy
from gflowvlm.processes import Processes
from gflowvlm.rollouts.chance import require_no_chance
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment, observe, refusals_of
from gflowvlm.rollouts.plan import plan_groups
from gflowvlm.rollouts.replay import Replay
from gflowvlm.rollouts.reward import build_reward
from gflowvlm.trainer.balance import BalanceTraining
from gflowvlm.trainer.loop import Method
from gflowvlm.trainer.offpolicy import OffPolicy
from gflowvlm.trainer.player import GroupPlayer
from gflowvlm.trainer.reinforcement import ReinforcementTraining

RESCORE_TOLERANCE = {"float32": 0.01, "bfloat16": 0.5}  # nats a token


def build_policy(config: RunConfig, device: torch.device) -> VLMPolicy:
    """The model, its adapter and its reference, as the configuration says; self-checked."""
    section = config.policy
    start = None if section.start is None else find_adapter(section.start, section.model)
    flow_head, value_head = needed_heads(config)
    settings = PolicySettings(
        temperature=section.temperature,
        actions=section.actions,
        thought=section.thought,
        layout=section.layout,
        history_length=section.history_length,
        max_reply_tokens=section.max_reply_tokens,
        done=config.says_done,
        done_token=section.done_token,
        flow_head=flow_head,
        value_head=value_head,
        rank=section.lora.rank,
        lora_alpha=section.lora.alpha,
        targets=section.lora.targets,
        gradient_checkpointing=section.gradient_checkpointing,
    )
    torch.manual_seed(config.seed)  # LoRA's and the head's first weights
    policy = VLMPolicy.from_folder(
        find_model(section.model),
        settings,
        start_adapter=start,
        dtype=getattr(torch, section.dtype),
        device=device,
        attention=section.attention,
    )
    policy.require_exactness()
    return policy


def needed_heads(config: RunConfig) -> tuple[bool, bool]:
    """Whether the objective trains a flow head, and whether a value head."""
    objective = config.objective
    if isinstance(objective, SupervisedFineTuning | PreferenceConfig):
        return False, False
    if isinstance(objective, ReinforcementConfig):
        return False, build_policy_gradient(objective, thought_weight=1.0).needs_value
    return build_objective(objective).needs_flow, False


def build_collector(config: RunConfig, split: str, *, batch_size: int = 64) -> Collector:
    """Plays the run's environment on a split."""
    make = partial(make_environment, config.environment.id, split, config.environment.kwargs)
    trial = make()  # a wrong name or a picture that is none should fail here, not when played
    with closing(trial), refusals_of(config.environment.id):
        observe(*trial.reset(seed=config.seed))
    return Collector(
        make=make,
        environment_id=config.environment.id,
        split=split,
        run_seed=config.seed,
        room_needed=2 * config.policy.max_reply_tokens,
        max_decisions=config.environment.max_decisions,
        out_of_room=config.environment.out_of_room,
        batch_size=batch_size,
        workers=config.environment.workers,
        patience=config.environment.patience,
    )


def build_method(
    config: RunConfig, policy: VLMPolicy, processes: Processes, leaving: ExitStack
) -> Method:
    """Where the rows come from, and what judges them.

    Args:
        config: of the run.
        policy: what is trained.
        processes: that train it together.
        leaving: closes the environments once training is over.
    """
    settings = config.trainer
    if isinstance(config.objective, SupervisedFineTuning):
        return SupervisedTraining(
            episodes=supervised_episodes(config, policy, processes),
            episodes_per_update=settings.groups_per_update * settings.group_size,
            seed=config.seed,
            processes=processes,
        )
    if isinstance(config.objective, ReinforcementConfig):
        return _reinforcement(config, config.objective, policy, processes, leaving)
    if isinstance(config.objective, PreferenceConfig):
        return preference_method(config, policy, _training_collector(config, leaving), processes)
    objective = build_objective(config.objective)
    return BalanceTraining(
        policy=policy,
        player=_player(config, processes, leaving, uses_prefixes=objective.uses_prefixes),
        reward=build_reward(config.reward),
        objective=objective,
        alpha=config.alpha,
        beta=config.beta,
        thought_weight=config.policy.thought_weight,
        rows_per_pass=settings.rows_per_pass,
        exploration_temperature=config.exploration.temperature,
        off_policy=build_off_policy(config, policy, processes, leaving),
        rescore_tolerance=RESCORE_TOLERANCE[config.policy.dtype],
    )


def _reinforcement(
    config: RunConfig,
    section: ReinforcementConfig,
    policy: VLMPolicy,
    processes: Processes,
    leaving: ExitStack,
) -> ReinforcementTraining:
    method = build_policy_gradient(section, thought_weight=config.policy.thought_weight)
    return ReinforcementTraining(
        policy=policy,
        player=_player(config, processes, leaving, uses_prefixes=method.uses_prefixes),
        reward=build_reward(config.reward),
        method=method,
        epochs=section.epochs,
        minibatches=section.minibatches,
        kl_coefficient=section.kl_coefficient,
        alpha=config.alpha,
        beta=config.beta,
        thought_weight=config.policy.thought_weight,
        rows_per_pass=config.trainer.rows_per_pass,
        rescore_tolerance=RESCORE_TOLERANCE[config.policy.dtype],
    )


def _training_collector(config: RunConfig, leaving: ExitStack) -> Collector:
    collector = build_collector(config, config.environment.train_split)
    leaving.callback(collector.close)
    return collector


def _player(
    config: RunConfig, processes: Processes, leaving: ExitStack, *, uses_prefixes: bool
) -> GroupPlayer:
    settings = config.trainer
    return GroupPlayer(
        collector=_training_collector(config, leaving),
        groups_per_update=settings.groups_per_update,
        group_size=settings.group_size,
        uses_prefixes=uses_prefixes,
        shared_chance=settings.shared_chance,
        processes=processes,
    )


def build_off_policy(
    config: RunConfig, policy: Policy, processes: Processes, leaving: ExitStack
) -> OffPolicy:
    """Where episodes come from that the policy does not sample by its own law.

    `leaving` closes the expert's environment.

    Raises:
        UserError: the environment has chance in it, or no expert whose words the policy could say.
    """
    environment = config.environment
    make = partial(make_environment, environment.id, environment.train_split, environment.kwargs)
    if config.off_policy:
        with closing(make()) as trial:
            require_no_chance(trial, config.off_policy)
    replay, expert = None, None
    if config.replay.share:
        replay = Replay(
            capacity=config.replay.capacity,
            per_start=config.replay.per_start,
            priority=config.replay.priority,
        )
    if config.expert.share:
        expert = ExpertPlayer(
            environment=leaving.enter_context(closing(make())),
            environment_id=environment.id,
            split=environment.train_split,
            mistakes=config.expert.mistakes,
            max_reply_tokens=config.policy.max_reply_tokens,
            thought=config.policy.thought,
        )
        first = plan_groups(config.seed, "train", first_group=0, groups=1, group_size=1)
        expert.play(policy, first)  # a reply that is too long should fail here
    return OffPolicy(
        run_seed=config.seed,
        replay=replay,
        replayed=config.added(config.replay.share),
        expert=expert,
        taught=config.added(config.expert.share),
        takes_over=config.expert.takes_over,
        processes=processes,
    )
