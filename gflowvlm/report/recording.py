"""Games kept for the report: what was seen, said and likely at every step, as plain values."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gflowvlm.errors import UserError
from gflowvlm.files import write_text

RECORDING_FILE = "report_episodes.json"


@dataclass(frozen=True, kw_only=True)
class RecordedStep:
    """One decision; probabilities are the policy's own, logs in nats."""

    image: str  # name of a picture of the recording
    text: str  # what the environment said beside it
    stated: Mapping[str, str]  # facts that the reply states
    wrong: Mapping[str, str]  # the truth of those it states wrongly
    thought: str
    reply: str  # the whole of it, as sampled
    action: str | None  # None where the reply names none
    problem: str | None  # why it names none
    choices: tuple[tuple[str, float], ...]  # legal action, its probability; likeliest first
    legal_share: float | None  # probability of all legal actions together, before normalising
    reward: float  # the environment's own
    log_pf: float  # thought-weighted log-prob of the reply
    log_ref: float  # the same under the start policy
    log_flow: float | None  # log F(h_t), None where the objective learns none
    level: float | None  # a_t = log F(h_t) - sum_{k<t} (log_pf - alpha log_ref)
    residual: float | None  # a_t - a_{t+1}, 0 for a policy on target


@dataclass(frozen=True, kw_only=True)
class RecordedEpisode:
    """One game."""

    method: str  # who played it: a comparison shows several
    split: str
    start: int  # games of one start share it
    task: str
    solution: str  # equal for equal solutions of a start
    success: bool
    strict: bool  # return positive
    ending: str
    total_reward: float
    log_reward: float | None  # log R, None where the collector cut the game
    end_level: float | None  # a_T = beta log R - S_T: the log Z that this game alone implies
    residual: float | None  # a_0 - a_T
    steps: tuple[RecordedStep, ...]
    task_type: str | None = None  # where the environment says; nothing in files of before


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Games of one policy."""

    update: int  # of the checkpoint that played
    episodes_per_split: int
    seed: int
    alpha: float
    beta: float
    pictures: Mapping[str, str]  # name -> PNG, base64
    episodes: tuple[RecordedEpisode, ...]

    @property
    def asked(self) -> tuple[int, int]:
        """Which games were asked for: how many of a split, and their seed."""
        return self.episodes_per_split, self.seed

    def write(self, folder: Path) -> Path:
        """Keep it in a run's folder; the file appears whole or not at all."""
        return write_text(folder / RECORDING_FILE, json.dumps(rounded(asdict(self))) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What `write` wrote; None where there is no such file.

        Raises:
            UserError: the file is no recording of this version.
        """
        path = folder / RECORDING_FILE
        if not path.exists():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            episodes = tuple(
                RecordedEpisode(**{**e, "steps": tuple(RecordedStep(**s) for s in e["steps"])})
                for e in values["episodes"]
            )
            return cls(**{**values, "episodes": episodes})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: found no games that this version can read, expected those that "
                "`gflowvlm report` keeps; delete the file, it is made anew"
            ) from error


class Pictures:
    """Equal images are kept once."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def name_of(self, image: NDArray[np.uint8]) -> str:
        """The name of an image [H, W, 3], which is kept if it is new."""
        name = sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:12]
        if name not in self.known:
            self.known[name] = b64encode(_png(image)).decode("ascii")
        return name


def _png(image: NDArray[np.uint8]) -> bytes:
    """With a palette where that loses nothing: a third of the size."""
    picture, stream = Image.fromarray(image), BytesIO()
    small = picture.quantize(256)
    exact = np.array_equal(np.asarray(small.convert("RGB")), image)
    (small if exact else picture).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def rounded(value: Any, digits: int = 4) -> Any:
    """Plain values with fewer digits; pages are for reading, and digits weigh."""
    match value:
        case float():
            return round(value, digits) if np.isfinite(value) else None
        case dict():
            return {name: rounded(each, digits) for name, each in value.items()}
        case list() | tuple():
            return [rounded(each, digits) for each in value]
        case _:
            return value
