import os
import signal

import pytest

from gflowvlm.trainer.signals import stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_asks(number: signal.Signals) -> None:
    with stop_on_signal() as request:
        assert not request.stop_requested
        os.kill(os.getpid(), number)
        assert request.stop_requested
        assert request.signal == number


def test_the_second_interrupt_does_not_wait() -> None:
    with stop_on_signal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_second_termination_still_waits() -> None:
    with stop_on_signal() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.stop_requested


def test_former_handlers_come_back_even_after_an_error() -> None:
    former = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(RuntimeError), stop_on_signal():
        raise RuntimeError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == former
