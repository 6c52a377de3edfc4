import os
import signal
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch.nn import Parameter

from gflowvlm.errors import UserError
from gflowvlm.launch.processes import joined
from gflowvlm.processes import ALONE

Launch = Callable[..., int]


def test_one_process_waits_for_nobody() -> None:
    parameter = Parameter(torch.ones(2))
    ALONE.sum_gradients([parameter])
    assert parameter.grad is None
    assert ALONE.gather("a") == ["a"]
    assert ALONE.deal("abc") == "abc"


def exchange() -> None:
    with joined("cpu") as (processes, device):
        assert (processes.count, dist.get_world_size(), device.type) == (2, 2, "cpu")
        index = processes.index
        assert processes.gather({"index": index}) == [{"index": 0}, {"index": 1}]
        assert processes.deal("abcde") == ("ab", "cde")[index]
        assert processes.from_main(lambda: 10 + index) == 10
        weights = [Parameter(torch.full((2, 3), float(index))), Parameter(torch.ones(1).double())]
        processes.copy_from_main(weights)
        assert weights[0].tolist() == [[0.0] * 3] * 2
        weights[0].grad = torch.arange(6.0).reshape(2, 3)
        if index == 1:
            weights[1].grad = torch.tensor([5.0]).double()  # the other one has none
        processes.sum_gradients(weights)
        assert weights[0].grad.tolist() == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
        assert weights[1].grad is not None
        assert weights[1].grad.tolist() == [5.0]


def test_two_processes_share_values_weights_and_gradients(two_processes: Launch) -> None:
    assert two_processes(exchange) == 0


def fail(error: Exception, failing: tuple[int, ...]) -> None:
    with joined("cpu") as (processes, _):
        processes.gather(None)
        if processes.index in failing:
            raise error
        processes.gather("a second time")


@pytest.mark.parametrize("failing", [(0,), (1,), (0, 1)])
def test_a_mistake_of_the_user_ends_all_and_is_said_once(
    failing: tuple[int, ...], two_processes: Launch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert two_processes(fail, UserError("found x, expected y"), failing) == 2
    assert capfd.readouterr().err.count("found x, expected y") == 1


def test_a_mistake_of_ours_shows_its_traceback_and_ends_all(
    two_processes: Launch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert two_processes(fail, ZeroDivisionError("ours"), (1,)) in (1, 2)
    said = capfd.readouterr().err
    assert said.count("Traceback") == 1
    assert said.count("process 1 of 2 failed with ZeroDivisionError: ours") == 1


def vanish() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher would end the other at once
    with joined("cpu") as (processes, _):
        processes.gather(None)
        if processes.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        processes.gather("is anybody there?")


def test_a_killed_process_is_missed_at_once(
    two_processes: Launch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert two_processes(vanish) != 0
    assert "process 0 of 2 lost another one" in capfd.readouterr().err


def test_what_accelerate_would_do_and_we_would_not_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match=r"found FSDP .* MULTI_GPU"), joined("cpu"):
        pass
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with (
        pytest.raises(UserError, match=r"found mixed_precision bf16 .* policy\.dtype"),
        joined("cpu"),
    ):
        pass
