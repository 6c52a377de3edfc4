"""What training has cost so far, and how long its budget makes it last."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(kw_only=True)
class Spending:
    """Sums over all processes and updates; kept in checkpoints, so that a resumed run counts on.

    Evaluation, loading and updates that an interruption lost are not in it.
    """

    episodes: int = 0  # played by the policy for training
    environment_steps: int = 0  # its decisions in them
    gradient_steps: int = 0  # of the optimiser
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def read(cls, state: dict[str, Any]) -> "Spending":
        """From a checkpoint's state; nothing where it was written before spending was counted."""
        return cls(**state.get("spent", {}))

    def as_state(self) -> dict[str, Any]:
        """What `read` reads back."""
        return {"spent": asdict(self)}

    def add(
        self,
        parts: Sequence[tuple[int, int, float]],
        *,
        gradient_steps: int,
        wall_seconds: float,
    ) -> None:
        """One update; each process's (episodes, environment steps, CPU seconds) for it."""
        self.episodes += sum(episodes for episodes, _, _ in parts)
        self.environment_steps += sum(steps for _, steps, _ in parts)
        self.cpu_seconds += sum(seconds for _, _, seconds in parts)
        self.wall_seconds += wall_seconds
        self.gradient_steps += gradient_steps

    def exhausts(self, max_environment_steps: int | None) -> bool:
        """Whether a budget is used up; None is no budget."""
        return max_environment_steps is not None and self.environment_steps >= max_environment_steps

    def expected_updates(
        self, update: int, *, max_updates: int, max_environment_steps: int | None
    ) -> float:
        """Updates in the whole run: `max_updates`, or fewer where the budget will end it before.

        `update` updates that took a share of the budget make 1 / share as many of the whole.
        """
        if max_environment_steps is None or self.environment_steps == 0:
            return max_updates
        return min(max_updates, update * max_environment_steps / self.environment_steps)


class Stopwatch:
    """Wall and CPU seconds since it was made; CPU seconds are this process's, all threads'."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    @property
    def wall(self) -> float:
        """Seconds passed."""
        return time.monotonic() - self._wall

    @property
    def cpu(self) -> float:
        """Seconds of work."""
        return time.process_time() - self._cpu
