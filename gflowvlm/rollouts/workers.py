"""Seats whose environments live in worker processes.

Workers are spawned, never forked: a fork after CUDA or threads have begun is undefined. What an
environment raises arrives as it was raised, with its traceback there as its cause. A worker that
dies, or is silent for longer than `patience`, is started again; the games that it had are lost.
"""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

import gymnasium

from gflowvlm.rollouts.seats import Make, Moment, SeatLost, advance, begin

LOG = logging.getLogger(__name__)
DIED = "the death of their worker: see its last words, and whether memory ran out"
SILENT = (
    "a worker without an answer for {:g} s: see what holds the environment up, or raise "
    "environment.patience"
)
STARTING = 120.0  # seconds that a process has to start, which imports what environments need
CLOSING = 5.0  # seconds that environments have to close


class WorkerSeats:
    """Environments spread over worker processes, each of which keeps those it has made."""

    waves = 2

    def __init__(self, make: Make, *, workers: int, patience: float) -> None:
        """Start no process yet.

        Args:
            make: builds an environment; is sent to the workers, so it must be picklable.
            workers: processes.
            patience: seconds without an answer after which a worker is taken for hung.
        """
        self._workers = [_Worker(make, patience) for _ in range(workers)]

    def take(self, count: int) -> Sequence["WorkerSeat"]:
        """This many seats; neighbours share a worker, which may keep what equal starts share."""
        wave = -(-count // self.waves)  # each keeps all workers busy
        share = -(-wave // len(self._workers))
        return [WorkerSeat(self._workers[n % wave // share], n) for n in range(count)]

    def close(self) -> None:
        """Stop all workers; one that hangs is killed."""
        for worker in self._workers:
            worker.close()


class WorkerSeat:
    """One of a worker's environments; implements `seats.Seat`."""

    def __init__(self, worker: "_Worker", number: int) -> None:
        """`number` tells the worker's environments apart."""
        self._worker, self._number = worker, number
        self._life = 0  # the worker's when the game began
        self._awaited: Future[Moment] | None = None

    def reset(self, seed: int, chance_seed: int | None) -> None:
        """Begin a game."""
        self._awaited = self._worker.ask(_reset, self._number, seed, chance_seed)
        self._life = self._worker.life

    def step(self, action: int) -> None:
        """Take a legal action."""
        same = self._life == self._worker.life
        self._awaited = self._worker.ask(_step, self._number, action) if same else None

    def moment(self) -> Moment:
        """What the last order came to."""
        if self._awaited is None:
            raise SeatLost(DIED)
        return self._worker.answer(self._awaited, self._life)


class _Worker:
    """A process that does one thing after the other, and its successors."""

    def __init__(self, make: Make, patience: float) -> None:
        self._make, self._patience = make, patience
        self._executor: ProcessPoolExecutor | None = None
        self._process: Future[int] | None = None
        self.life = 0
        """Processes that have ended."""

    def ask(self, order: Callable[..., Moment], *arguments: Any) -> Future[Moment] | None:
        """Have something done, by a new process where there is none; None: it has just died."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                1, mp_context=get_context("spawn"), initializer=_begin, initargs=(self._make,)
            )
            self._process = self._executor.submit(os.getpid)
        try:
            return self._executor.submit(order, *arguments)
        except BrokenProcessPool:
            self._give_up(DIED)
            return None

    def answer(self, awaited: Future[Moment], life: int) -> Moment:
        """What came of it; `life` is that of the process which was asked."""
        if self._process is not None:
            wait([self._process], timeout=STARTING)
        wait([awaited], timeout=self._patience)
        cause = DIED if awaited.done() else SILENT.format(self._patience)
        if awaited.done() and not awaited.cancelled():
            with suppress(BrokenProcessPool):
                return awaited.result()
        if life == self.life:  # no successor is to be blamed for it
            self._give_up(cause)
        raise SeatLost(cause)

    def close(self) -> None:
        """Let the process close its environments and end."""
        if self._executor is None:
            return
        with suppress(BrokenProcessPool):
            closed = self._executor.submit(_close)
            wait([closed], timeout=min(self._patience, CLOSING))
            if closed.done():
                self._executor.shutdown()
                self._executor = None
                return
        self._end()

    def _give_up(self, cause: str) -> None:
        if self._executor is not None:
            LOG.warning(f"games are lost by {cause}; another worker takes its place")
            self._end()

    def _end(self) -> None:
        assert self._executor is not None
        assert self._process is not None
        self._executor.shutdown(wait=False, cancel_futures=True)
        with suppress(TimeoutError, CancelledError, BrokenProcessPool, ProcessLookupError):
            os.kill(self._process.result(timeout=0), signal.SIGKILL)
        self._executor = None
        self.life += 1


# -- what happens in a worker ---------------------------------------------------------------------

_make: Make
_environments: dict[int, gymnasium.Env[Any, Any]] = {}


def _begin(make: Make) -> None:
    """The interrupt key is the main process's affair, which ends its workers itself."""
    global _make
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _make = make


def _reset(number: int, seed: int, chance_seed: int | None) -> Moment:
    if number not in _environments:
        _environments[number] = _make()
    return begin(_environments[number], seed, chance_seed)


def _step(number: int, action: int) -> Moment:
    return advance(_environments[number], action)


def _close() -> None:
    for environment in _environments.values():
        environment.close()
