"""The processes of one run: who they are and what they tell each other.

Each process plays and scores its own groups of episodes; nothing is exchanged until its part of
the gradient is complete. Then come one `gather` of small values and one `sum_gradients`. Hooks of
`DistributedDataParallel` reduce in every backward pass instead: they wait for ever where processes
have unequal numbers of passes (episodes differ in length, some are cut), and they see nothing of
passes that go through `policy.score` rather than through the wrapped module.

Values travel over gloo also where gradients travel over NCCL: a dead process closes its sockets,
so the others learn of it at once.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gflowvlm.errors import UserError

T = TypeVar("T")

PATIENCE = timedelta(hours=1)  # the longest that one process may be ahead of another
_USER_ERROR = 2
_OUR_ERROR = 1


@dataclass(frozen=True)
class _Failure:
    """What a process says in place of its value when it cannot go on."""

    line: str


class Processes:
    """One process's view of all; a run on a single process has `count` 1 and never waits."""

    def __init__(self, index: int = 0, count: int = 1) -> None:
        """Join; with `count` > 1, torch.distributed's default group must exist.

        Args:
            index: number of this process, from 0.
            count: how many there are.
        """
        self.index = index
        self.count = count
        several = count > 1
        self._group: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if several else None

    @property
    def main(self) -> bool:
        """True on the one process that writes files and speaks to the user."""
        return self.index == 0

    def deal(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share: consecutive items, one more or less than the others'."""
        first, end = (len(items) * i // self.count for i in (self.index, self.index + 1))
        return items[first:end]

    def gather(self, value: T) -> list[T]:
        """Every process's value, in their order, given to all.

        All must come here equally often. Whole episodes may travel too (`Episode.without_images`
        where the images are not needed).

        Raises:
            SystemExit: another process failed or is gone; the reason has been printed.
        """
        return [value] if self.count == 1 else self._exchange(value)

    def from_main(self, make: Callable[[], T]) -> T:
        """What `make` gives on the main process; the others wait for it."""
        return self.gather(make() if self.main else None)[0]  # type: ignore[return-value]

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes; None counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._in_buckets([p.grad for p in parameters if p.grad is not None], dist.all_reduce)

    def copy_from_main(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors with the main process's, so that all begin alike."""
        if self.count > 1:
            self._in_buckets([t.detach() for t in tensors], partial(dist.broadcast, src=0))

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """Whatever ends one process inside ends all of them, and is said once.

        A process that fails takes part in the others' next `gather` by saying so. On several
        processes errors leave as SystemExit, with code 2 for a UserError and 1 for a mistake of
        ours, whose traceback is printed; on a single one they pass.
        """
        try:
            yield
        except Exception as error:
            if self.count == 1:
                raise
            self._fail(error)
        self.gather(None)

    def _in_buckets(self, tensors: Sequence[Tensor], call: Callable[[Tensor], Any]) -> None:
        """Let `call` change tensors in place, those of one type and device in one go."""
        kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        flat = [torch.cat([tensor.flatten() for tensor in some]) for some in kinds.values()]
        self.gather(None)  # NCCL would wait long for a process that had no memory to come so far
        for bucket, some in zip(flat, kinds.values(), strict=True):
            with self._losing_none():
                call(bucket)
            for tensor, part in zip(some, bucket.split([t.numel() for t in some]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def _fail(self, error: Exception) -> NoReturn:
        if isinstance(error, UserError):
            self._exchange(_Failure(str(error)))
        traceback.print_exception(error)
        what = f"process {self.index} of {self.count} failed with {type(error).__name__}: {error}"
        try:
            self._exchange(_Failure(f"{what}; its traceback is printed, checkpoints are kept"))
        finally:
            raise SystemExit(_OUR_ERROR)

    def _exchange(self, value: Any) -> list[Any]:
        """All values; leaves if one of them is a failure, after the main process has said it."""
        said: list[Any] = [None] * self.count
        with self._losing_none():
            dist.all_gather_object(said, value, group=self._group)
        failures = [each for each in said if isinstance(each, _Failure)]
        if not failures:
            return said
        # As soon as one process has left, its launcher ends the others: nobody leaves before the
        # line is out, and it is not left to the command line, which comes after all unwinding.
        if self.main:
            print(failures[0].line, file=sys.stderr, flush=True)
        with self._losing_none():
            dist.barrier(self._group)
        raise SystemExit(_USER_ERROR)

    @contextmanager
    def _losing_none(self) -> Iterator[None]:
        """Leave with a line if another process is gone."""
        try:
            yield
        except RuntimeError as error:  # a connection was closed, or patience ran out
            reason = str(error).strip().splitlines()[-1]
            print(
                f"process {self.index} of {self.count} lost another one ({reason}); checkpoints "
                "are kept: start all again with --resume",
                file=sys.stderr,
                flush=True,
            )
            raise SystemExit(_USER_ERROR) from error


ALONE = Processes()
"""The only process of its run."""
