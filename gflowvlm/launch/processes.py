"""From a launcher's environment (torchrun, accelerate launch, srun) to the processes of a run."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState
from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

from gflowvlm.errors import UserError
from gflowvlm.processes import Processes

_ENGINES = ("FSDP", "DEEPSPEED", "MEGATRON_LM")


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """The processes of this run and the device of this one; they fail and leave together.

    Args:
        device: `policy.device`.

    Raises:
        UserError: a launcher's setting that is not served, or no such device.
    """
    _require_plain_data_parallelism()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("found no GPU, expected one for policy.device: cuda; set it to auto or cpu")
    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    if not on_cpu and here > torch.accelerator.device_count():
        raise UserError(
            f"found {torch.accelerator.device_count()} GPUs for {here} processes on this machine, "
            "expected one each: launch fewer processes, or set policy.device: cpu"
        )
    state = PartialState(cpu=on_cpu)
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != asked:
        raise UserError(
            f"found {state.num_processes} connected processes, expected the {asked} of WORLD_SIZE: "
            "launch with torchrun or accelerate launch"
        )
    processes = Processes(state.process_index, state.num_processes)
    _quiet_libraries(processes)
    with processes.ending_together():
        yield processes, torch.device("cpu" if on_cpu else str(state.device))
    if processes.count > 1:
        state.destroy_process_group()
        PartialState._reset_state()


def one_process(device: str) -> torch.device:
    """The device of a verb that is not shared.

    Raises:
        UserError: a launcher started several processes.
    """
    with joined(device) as (processes, found):
        if processes.count > 1:
            raise UserError(
                f"found {processes.count} processes, expected 1: start this without a launcher"
            )
    return found


def require_whole_shares(processes: Processes, groups_per_update: int) -> None:
    """A group is never split, and every process plays as many.

    Raises:
        UserError: the groups cannot be dealt evenly.
    """
    if groups_per_update % processes.count:
        raise UserError(
            f"found {processes.count} processes and trainer.groups_per_update = "
            f"{groups_per_update}, expected a multiple of {processes.count}: change one of them"
        )


def _require_plain_data_parallelism() -> None:
    """What accelerate's own file asks for and this toolkit would not do is refused."""
    for engine in _ENGINES:
        if os.environ.get(f"ACCELERATE_USE_{engine}", "false").lower() == "true":
            raise UserError(
                f"found {engine} in accelerate's configuration, expected plain data parallelism: "
                "set distributed_type to MULTI_GPU, see configs/accelerate"
            )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        raise UserError(
            f"found mixed_precision {precision} in accelerate's configuration, expected no: the "
            "recipe decides it, set policy.dtype: bfloat16 there"
        )


def _quiet_libraries(processes: Processes) -> None:
    """Other libraries' bars say nothing about the run, their warnings are needed once."""
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    # PEFT asks Transformers by a name that is going to change; nothing a user could mend.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    if not processes.main:
        transformers_logging.set_verbosity_error()
