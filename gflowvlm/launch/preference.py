"""From a checked configuration to rejection sampling, DPO or self-play."""

from dataclasses import replace
from typing import assert_never

from gflowvlm.baselines.conversations import StoredPair, read_pairs
from gflowvlm.baselines.expert import expert_episodes
from gflowvlm.baselines.kept import KeptGames
from gflowvlm.baselines.opponents import OpponentReplies, Opponents
from gflowvlm.baselines.pairs import (
    CorruptedDigits,
    PairMaker,
    Step,
    StoredPairs,
    WeakReplies,
    steps_of,
)
from gflowvlm.baselines.preference import PreferenceTraining
from gflowvlm.baselines.rejection import RejectionTraining
from gflowvlm.config.preference import DirectPreference, RejectionSampling, SelfPlay
from gflowvlm.config.schema import RunConfig
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.processes import Processes
from gflowvlm.rollouts.collect import Collector
from gflowvlm.rollouts.environments import make_environment
from gflowvlm.rollouts.plan import plan_groups
from gflowvlm.rollouts.reward import build_reward
from gflowvlm.trainer.loop import Method


def preference_method(
    config: RunConfig, policy: VLMPolicy, collector: Collector, processes: Processes
) -> Method:
    """The method that the objective names.

    Raises:
        UserError: the environment has no expert, where one is to be imitated.
    """
    section = config.objective
    match section:
        case RejectionSampling():
            return _rejection(config, section, policy, collector, processes)
        case DirectPreference():
            return _direct(config, section, policy, collector, processes)
        case SelfPlay():
            return _self_play(config, section, policy, processes)
        case _:
            raise AssertionError(section)  # of another room: `launch.parts` tells them apart


def _rejection(
    config: RunConfig,
    section: RejectionSampling,
    policy: VLMPolicy,
    collector: Collector,
    processes: Processes,
) -> RejectionTraining:
    kept = _kept_games(config, policy, collector, processes, section.round_updates)
    return RejectionTraining(
        kept=replace(
            kept,
            min_log_reward=section.min_log_reward,
            keep=section.keep,
            rounds_kept=section.rounds_kept,
        ),
        equal_starts=section.equal_starts,
        games_per_update=config.played,
        round_updates=section.round_updates,
        seed=config.seed,
        processes=processes,
    )


def _direct(
    config: RunConfig,
    section: DirectPreference,
    policy: VLMPolicy,
    collector: Collector,
    processes: Processes,
) -> PreferenceTraining:
    steps: KeptGames | list[Step] | list[StoredPair]
    match section.chosen:
        case _ if section.data is not None:
            steps = read_pairs(section.data)
        case "own":
            steps = _kept_games(config, policy, collector, processes, section.round_updates)
        case "expert":
            steps = _expert_steps(config, section.episodes, mistakes=0.0)
        case _:
            assert_never(section.chosen)
    by_round = section.reference == "round"
    return PreferenceTraining(
        steps=steps,
        make_pairs=_rejected(config, section, policy),
        opponents=_opponents(config, policy, alpha=0.0 if by_round else 1.0, history=1),
        beta=section.beta,
        label_smoothing=section.label_smoothing,
        sft_weight=section.sft_weight,
        pairs_per_update=config.played,
        round_updates=section.round_updates,
        seed=config.seed,
        processes=processes,
    )


def _self_play(
    config: RunConfig, section: SelfPlay, policy: VLMPolicy, processes: Processes
) -> PreferenceTraining:
    opponents = _opponents(config, policy, alpha=section.alpha, history=section.history)
    return PreferenceTraining(
        steps=_expert_steps(config, section.episodes, mistakes=section.mistakes),
        make_pairs=OpponentReplies(
            policy=policy,
            opponents=opponents,
            rejected_from=section.rejected_from,
            candidates=section.candidates,
            seed=config.seed,
        ),
        opponents=opponents,
        beta=section.beta,
        label_smoothing=0.0,
        sft_weight=0.0,
        pairs_per_update=config.played,
        round_updates=section.round_updates,
        seed=config.seed,
        processes=processes,
    )


def _rejected(config: RunConfig, section: DirectPreference, policy: VLMPolicy) -> PairMaker:
    match section.rejected:
        case _ if section.data is not None:
            return StoredPairs(row_of_turns=policy.row_of_turns)
        case "digits":
            return CorruptedDigits(policy=policy, seed=config.seed, verify=section.verify)
        case "weak":
            assert policy.adapters is not None, "runs train adapters"
            return WeakReplies(
                policy=policy,
                weights=policy.adapters,
                seed=config.seed,
                batch_size=config.trainer.rows_per_pass,
            )
        case _:
            assert_never(section.rejected)


def _opponents(
    config: RunConfig, policy: VLMPolicy, *, alpha: float, history: int | None
) -> Opponents:
    assert policy.adapters is not None, "runs train adapters"
    return Opponents(
        policy=policy,
        weights=policy.adapters,
        alpha=alpha,
        history=history,
        thought_weight=config.policy.thought_weight,
        rows_per_pass=config.trainer.rows_per_pass,
    )


def _kept_games(
    config: RunConfig,
    policy: VLMPolicy,
    collector: Collector,
    processes: Processes,
    round_updates: int,
) -> KeptGames:
    return KeptGames(
        policy=policy,
        collector=collector,
        reward=build_reward(config.reward),
        groups_per_update=config.trainer.groups_per_update,
        group_size=config.trainer.group_size,
        round_updates=round_updates,
        max_updates=config.trainer.max_updates,
        shared_chance=config.trainer.shared_chance,
        processes=processes,
    )


def _expert_steps(config: RunConfig, episodes: int, *, mistakes: float) -> list[Step]:
    """Played by every process alike; starts are those of `sft` with the same seed."""
    environment = config.environment
    games = expert_episodes(
        make_environment(environment.id, environment.train_split, environment.kwargs),
        plan_groups(config.seed, "expert", first_group=0, groups=episodes, group_size=1),
        environment_id=environment.id,
        split=environment.train_split,
        mistakes=mistakes,
        thought=config.policy.thought,
    )
    return steps_of(games)
