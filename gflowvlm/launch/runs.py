"""A run's folder, opened again after training."""

from pathlib import Path

from gflowvlm.config.load import load
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.stored import load_stored
from gflowvlm.errors import UserError
from gflowvlm.launch.parts import build_policy
from gflowvlm.launch.processes import one_process
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.loop import POLICY_FOLDER


def open_run(folder: Path) -> tuple[RunConfig, Path]:
    """A run's configuration and its newest complete checkpoint.

    Raises:
        UserError: the folder is not a run's, or the run has no complete checkpoint.
    """
    config = load_stored(folder)
    newest = checkpoint.latest_complete(folder)
    if newest is None:
        raise UserError(
            f"{folder}: found no complete checkpoint, expected one under checkpoints/; "
            "let the run reach trainer.checkpoint_every updates first"
        )
    return config, newest


def open_policy(target: Path, *, seed: int) -> tuple[RunConfig, VLMPolicy]:
    """The policy of a run, or the one that a recipe starts from; `seed` replaces the run's.

    For verbs that one process does by itself.
    """
    config, newest = open_run(target) if target.is_dir() else (load(target), None)
    config = config.model_copy(update={"seed": seed})
    policy = build_policy(config, one_process(config.policy.device))
    if newest is not None:
        policy.load(newest / POLICY_FOLDER)
    return config, policy
