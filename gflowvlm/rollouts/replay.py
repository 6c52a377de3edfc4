"""Trajectory replay: the best episodes of each start, one for every sequence of actions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.episode import Decision, Ending, Episode, Observation, Reply
from gflowvlm.errors import UserError
from gflowvlm.rollouts.reward import LogReward
from gflowvlm.rollouts.sharing import ImageStore, start_of
from gflowvlm.rollouts.storage import read_values, write_values

REPLAY_FILE = "replay.pt"


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A finished episode with all that training needs of it besides `log_pf`."""

    episode: Episode
    rows: Sequence[Row]  # in the order of the decisions
    reward: LogReward  # un-tempered, nats
    log_ref: Tensor  # [T] of each decision under the frozen reference, thought-weighted, nats
    log_ref_done: Tensor  # [T] of DONE in place of each; 0 where it is forbidden

    @property
    def start(self) -> str:
        """Names h_0; equal for episodes that begin with the same text and pixels."""
        return start_of(self.episode.decisions[0].observation)

    @property
    def way(self) -> tuple[int | str | None, ...]:
        """Action of each decision, "done", or None for an invalid reply: what makes a solution."""
        replies = [decision.reply for decision in self.episode.decisions]
        return tuple("done" if reply.done else reply.action for reply in replies)


class Replay:
    """Finished episodes by start and sequence of actions, whatever was thought on the way.

    Of two with the same actions the newer one stays, as its thoughts are nearer to the policy's. A
    full start gives up its least log R, a full replay that of the start that holds most; the older
    one where several are least. `log_pf` is not stored: the trainer scores every row anew.

    The use of such episodes without importance weights is fair for losses whose residuals can all
    be zero (Malkin et al. 2022), which takes transitions that are not left to chance.
    """

    def __init__(self, *, capacity: int, per_start: int, priority: float) -> None:
        """Start empty.

        Args:
            capacity: most trajectories in all.
            per_start: most trajectories of one start.
            priority: a trajectory is drawn with weight R^priority among those of its start.
        """
        self.capacity = capacity
        self.per_start = per_start
        self.priority = priority
        self._starts: dict[str, dict[tuple[int | str | None, ...], Trajectory]] = {}
        self._size = 0
        self._images = ImageStore()

    def __len__(self) -> int:
        """Trajectories held."""
        return self._size

    def __iter__(self) -> Iterator[Trajectory]:
        """All of them, start by start, each start's newest last."""
        for ways in self._starts.values():
            yield from ways.values()

    @property
    def solutions(self) -> int:
        """Different action sequences that reached their goal, over all starts."""
        return sum(trajectory.episode.success for trajectory in self)

    def add(self, trajectory: Trajectory) -> None:
        """Take in a finished episode.

        Raises:
            UserError: the same actions led elsewhere before, so the environment has chance in it.
        """
        assert trajectory.episode.ending is not Ending.TRUNCATED, "it has no reward"
        trajectory = self.shared(trajectory)
        start = trajectory.start
        ways = self._starts.setdefault(start, {})
        known = ways.get(trajectory.way)
        if known is not None:
            _require_same_course(known, trajectory)
            del ways[trajectory.way]  # the newer one goes last
        ways[trajectory.way] = trajectory
        self._size += known is None
        if len(ways) > self.per_start:
            self._give_up_least(start)
        elif self._size > self.capacity:
            self._give_up_least(max(self._starts, key=lambda start: len(self._starts[start])))

    def shared(self, trajectory: Trajectory) -> Trajectory:
        """The same trajectory with images that other ones show too held once."""
        return Trajectory(
            episode=self._images.episode(trajectory.episode),
            rows=tuple(map(self._images.row, trajectory.rows)),
            reward=trajectory.reward,
            log_ref=trajectory.log_ref.detach().cpu().clone(),
            log_ref_done=trajectory.log_ref_done.detach().cpu().clone(),
        )

    def draw(
        self,
        count: int,
        rng: np.random.Generator,
        *,
        own: Sequence[str] = (),
        most: int,
        least: int = 1,
    ) -> list[Trajectory]:
        """Up to `count` different trajectories; fewer where the replay does not hold as many.

        Starts come in random order, each with up to `most` trajectories drawn by priority.

        Args:
            count: trajectories wanted.
            rng: decides.
            own: starts that the batch already has episodes of; they come first, so that old and
                new episodes of a start meet.
            most: trajectories of one start.
            least: trajectories without which a start that is not `own` is left out.
        """
        met = [start for start in dict.fromkeys(own) if start in self._starts]
        others = [s for s, ways in self._starts.items() if s not in own and len(ways) >= least]
        drawn: list[Trajectory] = []
        for starts, needed in ((met, 1), (others, least)):
            for place in rng.permutation(len(starts)):
                room = min(most, count - len(drawn))
                if room >= needed:
                    drawn += self._draw_of(starts[place], room, rng)
        return drawn

    def save(self, path: Path) -> None:
        """Write everything held; what is shared in memory is written once."""
        write_values(path, list(self), kinds=_VALUES)

    def load(self, path: Path) -> None:
        """Replace everything held by what `save` wrote; nothing in the file is executed.

        Raises:
            UserError: no such file, or it is damaged or of another version.
        """
        stored = read_values(path, kinds=_VALUES, what="replay", otherwise="with replay.share=0")
        self._starts, self._size = {}, 0
        for trajectory in stored:
            self.add(trajectory)

    def _draw_of(self, start: str, count: int, rng: np.random.Generator) -> list[Trajectory]:
        """Without putting back, by weight R^priority: the largest of Gumbel-perturbed log-weights.

        Kool et al. 2019, Stochastic Beams and Where to Find Them.
        """
        held = list(self._starts[start].values())
        weight = np.array([self.priority * trajectory.reward.total for trajectory in held])
        order = np.argsort(-(weight + rng.gumbel(size=len(held))), kind="stable")
        return [held[place] for place in order[:count]]

    def _give_up_least(self, start: str) -> None:
        ways = self._starts[start]
        del ways[min(ways, key=lambda way: ways[way].reward.total)]
        self._size -= 1
        if not ways:
            del self._starts[start]


def _require_same_course(one: Trajectory, other: Trajectory) -> None:
    """Same start, same actions: what was seen and earned must be the same too."""
    same = one.reward == other.reward and all(
        a.observation.image is b.observation.image and a.observation.text == b.observation.text
        for a, b in zip(one.episode.decisions, other.episode.decisions, strict=True)
    )
    if not same:
        raise UserError(
            f"{other.episode.environment}: found the same actions {other.episode.actions} from the "
            "same start with another outcome, expected no chance in the environment while old "
            "episodes are replayed: set replay.share to 0"
        )


_VALUES = (Trajectory, Row, LogReward, Episode, Decision, Observation, Reply)
"""All that a stored replay is made of, besides plain values and tensors."""
