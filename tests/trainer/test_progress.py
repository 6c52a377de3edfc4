import io

from gflowvlm.trainer.progress import ProgressDisplay


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_each_logged_update_is_a_plain_line() -> None:
    seconds = iter([100.0, 130.0])
    stream = io.StringIO()
    with ProgressDisplay(10, stream=stream, clock=lambda: next(seconds)) as progress:
        progress.advance(1)
        progress.advance(2, {"loss": 0.123456, "success": 0.5})
    # 30 s for 2 updates, 8 to go: 120 s
    assert stream.getvalue() == "update 2/10  loss 0.1235  success 0.5  left 0:02:00\n"


def test_updates_before_a_resume_do_not_count_for_the_speed() -> None:
    seconds = iter([0.0, 10.0])
    stream = io.StringIO()
    with ProgressDisplay(100, done=90, stream=stream, clock=lambda: next(seconds)) as progress:
        progress.advance(95, {})
    # 10 s for 5 updates, 5 to go: 10 s, where 95 updates in 10 s would give 1 s
    assert stream.getvalue().endswith("left 0:00:10\n")


def test_a_terminal_gets_a_live_bar_with_the_last_metrics() -> None:
    stream = Terminal()
    with ProgressDisplay(10, stream=stream) as progress:
        progress.advance(10, {"loss": 0.25})
        progress.say("checkpoint written")
    shown = stream.getvalue()
    assert "10/10" in shown
    assert "loss 0.25" in shown
    assert "checkpoint written" in shown
