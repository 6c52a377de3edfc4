"""Train what a configuration says, into a run's folder."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import torch

from gflowvlm.config.schema import RunConfig
from gflowvlm.config.stored import store
from gflowvlm.evaluation.table import print_table, read_measured, write_measured
from gflowvlm.launch.evaluate import EVALUATION_FILE, look_at, measure_splits
from gflowvlm.launch.parts import build_method, build_policy
from gflowvlm.launch.processes import joined, require_whole_shares
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.processes import Processes
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.loop import Trainer
from gflowvlm.trainer.optimizer import build_optimizer
from gflowvlm.trainer.tracking import require_trackers


def train(config: RunConfig, *, resume: bool) -> Path:
    """Train to the end of `config`; gives the run's folder.

    Started by torchrun or accelerate launch, every process comes here and takes its share of the
    groups; the run's folder must be the same for all.

    Raises:
        UserError: anything about the configuration, the model or the run folder that cannot be.
    """
    require_trackers(config.trainer.trackers)
    with joined(config.policy.device) as (processes, device), ExitStack() as leaving:
        require_whole_shares(processes, config.trainer.groups_per_update)
        _train(config, processes, device, leaving, resume=resume)
    return config.run_dir


def _train(
    config: RunConfig,
    processes: Processes,
    device: torch.device,
    leaving: ExitStack,
    *,
    resume: bool,
) -> None:
    newest = processes.from_main(lambda: checkpoint.prepare_run(config.run_dir, resume=resume))
    policy = build_policy(config, device)
    method = build_method(config, policy, processes, leaving)
    trainer = Trainer(
        policy=policy,
        method=method,
        optimizer=build_optimizer(
            policy.parameter_groups(),
            learning_rate=config.trainer.learning_rate,
            head_learning_rate=config.trainer.head_learning_rate,
            weight_decay=config.trainer.weight_decay,
        ),
        config=config.trainer,
        run_dir=config.run_dir,
        look=look_at(config, policy, processes),
        look_every=config.evaluation.every,
        settings=config.model_dump(mode="json"),
        processes=processes,
    )
    done = 0 if newest is None else trainer.resume(newest)
    if processes.main:  # not before: what cannot be resumed must not replace what can
        store(config)
    figures = config.run_dir / EVALUATION_FILE
    measured = read_measured(figures) if processes.main else {}
    if config.evaluation.at_start and done == 0:
        measured["before"] = measure_splits(policy, config, processes)
        if processes.main:
            write_measured(figures, measured)
    if trainer.run(done=done):
        if processes.main:
            _keep_adapter(policy, config.run_dir)
        if config.evaluation.at_end:
            measured["after"] = measure_splits(policy, config, processes)
            if processes.main:
                write_measured(figures, measured)
                print_table(measured)


def _keep_adapter(policy: VLMPolicy, run_dir: Path) -> None:
    """`adapter/` in the run's folder: what plain PEFT loads; replaced as a whole."""
    partial_folder, folder = run_dir / ".adapter.partial", run_dir / "adapter"
    shutil.rmtree(partial_folder, ignore_errors=True)
    policy.save(partial_folder)
    shutil.rmtree(folder, ignore_errors=True)
    partial_folder.rename(folder)
