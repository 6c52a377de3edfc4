"""Ctrl-C and termination as a polite request: finish the update, save, leave."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_POLITE = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether someone has asked the run to stop; the training loop looks between updates."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def stop_requested(self) -> bool:
        """True once a signal has arrived."""
        return self.signal is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: do not wait for the update
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a StopRequest; the former handlers come back afterwards.

    Only the main thread may set handlers; use it there.
    """
    request = StopRequest()
    former: dict[signal.Signals, Any] = {}
    try:
        for number in _POLITE:
            former[number] = signal.signal(number, request._receive)
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
