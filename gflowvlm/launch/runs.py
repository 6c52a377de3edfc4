"""A run's folder, opened again after training."""

from pathlib import Path

import torch

from gflowvlm.config.load import load
from gflowvlm.config.schema import RunConfig
from gflowvlm.errors import UserError
from gflowvlm.launch.parts import build_policy
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.loop import POLICY_FOLDER

CONFIG_FILE = "config.json"


def open_run(folder: Path) -> tuple[RunConfig, Path]:
    """A run's configuration and its newest complete checkpoint.

    Raises:
        UserError: the folder is not a run's, or the run has no complete checkpoint.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(
            f"{folder} is no run folder: found no {CONFIG_FILE} in it, expected what "
            "`gflowvlm train` wrote; pass the folder that it named at its end"
        )
    config = load(folder / CONFIG_FILE)
    newest = checkpoint.latest_complete(folder)
    if newest is None:
        raise UserError(
            f"{folder}: found no complete checkpoint, expected one under checkpoints/; "
            "let the run reach trainer.checkpoint_every updates first"
        )
    return config, newest


def open_policy(target: Path, device: torch.device, *, seed: int) -> tuple[RunConfig, VLMPolicy]:
    """The policy of a run, or the one that a recipe starts from; `seed` replaces the run's."""
    config, newest = open_run(target) if target.is_dir() else (load(target), None)
    config = config.model_copy(update={"seed": seed})
    policy = build_policy(config, device)
    if newest is not None:
        policy.load(newest / POLICY_FOLDER)
    return config, policy
