"""Folders such as training, measuring and comparing leave, without any of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gflowvlm.config.load import dump_json, load
from gflowvlm.report.recording import Pictures, RecordedEpisode, RecordedStep, Recording

RECIPE = Path(__file__).parents[2] / "configs/number_line/subtb.yaml"
HOSTILE = '</script><img src=x onerror="document.title=1"><!--'


def measurement(split: str, reach: float, **others: Any) -> dict[str, Any]:
    shares = {"value": reach, "low": max(0, reach - 0.1), "high": min(1, reach + 0.1)}
    return {
        **{"split": split, "episodes": 48, "samples_per_start": 4, "seed": 0, "temperature": 1.0},
        **{"reach": shares, "strict": shares, "right_moves": 0.8, "reading": None},
        **{"diversity": 1 + reach, "invalid_replies": 0.0, "cut": 0, "length": 3.0},
        **{"reply_tokens": 20.0, "chance": {"reach": 0.598, "strict": 0.269}},
        **{"optimum": {"reach": 1.0, "strict": 1.0}, "coverage": None, "sampler": None},
        **others,
    }


def episode(number: int, split: str, method: str, pictures: Pictures) -> RecordedEpisode:
    """Won by every second number; as many steps as the number plus one."""
    image = np.full((8, 8, 3), 20 * number, np.uint8)
    words = ("+", "-") if number % 3 else ("-", "+")
    steps = tuple(
        RecordedStep(
            image=pictures.name_of(image),
            text="",
            stated={"current number": str(place)},
            wrong={"current number": "9"} if place == 1 else {},
            thought=HOSTILE if number == 0 else "current is smaller",
            reply=HOSTILE,
            action=words[place % 2],
            problem=None,
            choices=(("+", 0.75), ("-", 0.25)),
            legal_share=0.99,
            reward=0.0,
            log_pf=-1.0,
            log_ref=-1.5,
            log_flow=-2.0 - place,
            level=-2.0,
            residual=0.5 * place,
        )
        for place in range(number + 1)
    )
    return RecordedEpisode(
        method=method,
        split=split,
        start=number // 2,
        task="Reach the target",
        solution=str(len(steps)),
        success=number % 2 == 0,
        strict=number % 4 == 0,
        ending="terminated",
        total_reward=1.0,
        log_reward=-3.0,
        end_level=-2.5,
        residual=0.5,
        steps=steps,
    )


def recording(method: str) -> Recording:
    pictures = Pictures()
    episodes = tuple(
        episode(n, split, method, pictures) for split in ("id", "ood") for n in range(4)
    )
    return Recording(
        update=40,
        episodes_per_split=4,
        seed=0,
        alpha=1.0,
        beta=1.0,
        pictures=pictures.known,
        episodes=episodes,
    )


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """Writes a finished run of so many updates into a folder."""

    def make(folder: Path, *, updates: int = 40, method: str = "fl_subtb", seed: int = 0) -> Path:
        folder.mkdir(parents=True)
        config = load(RECIPE, [f"name={folder.name}", f"seed={seed}"])
        (folder / "config.json").write_text(dump_json(config))
        rise = np.linspace(0.3, 0.9, max(updates, 1)) + 0.02 * np.sin(np.arange(updates) + seed)
        lines = [
            {"step": n + 1, "loss": 80 / (n + 1), "reach": rise[n], "strict": rise[n] ** 2}
            | {"log_z": -10.0 + n / 8, "log_z_implied": "nan" if n == 3 else -9.0, "cut": 0.0}
            | {"id/reach": rise[n], "environment_steps": 150 * (n + 1) + seed}
            for n in range(updates)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
        if updates:
            found = {
                when: [measurement("id", share), measurement("ood", share / 2)]
                for when, share in (("before", 0.4), ("after", 0.95))
            }
            (folder / "evaluation.json").write_text(json.dumps(found))
            (folder / "adapter").mkdir()
            recording(method).write(folder)
        return folder

    return make


@pytest.fixture
def make_comparison(make_run: Callable[..., Path]) -> Callable[[Path], Path]:
    """Writes what `gflowvlm compare` leaves: two methods, two seeds each."""

    def aggregate(value: float) -> dict[str, Any]:
        def interval(middle: float) -> dict[str, Any]:
            return {"value": middle, "low": middle - 0.05, "high": middle + 0.05, "runs": 2}

        return {
            split: {"reach": interval(value), "diversity": interval(1 + value)}
            for split in ("id", "ood", "all")
        }

    def make(folder: Path) -> Path:
        methods: dict[str, Any] = {}
        for method, value in (("subtb", 0.9), ("ppo", 0.8)):
            runs = []
            for seed in (0, 1):
                name = f"{method}-seed{seed}"
                make_run(folder / name, method=method, seed=seed)
                values = {"reach": value + 0.02 * seed, "diversity": 1.5, "tv": None}
                splits = {s: {"values": values, "measurement": {}, "exact": None} for s in ("id",)}
                runs.append({"seed": seed, "folder": name, "objective": method, "splits": splits})
            spent = {"episodes": 640.0, "environment_steps": 6000.0, "wall_seconds": 100.0}
            methods[method] = {
                **{"objective": method, "runs": runs, "spent": spent},
                "aggregate": aggregate(value),
            }
        share = {"label": "reach", "better": "higher", "unit": "share"}
        count = {"label": "Div@4", "better": "higher", "unit": "number"}
        plain = {
            **{"name": "tiny", "environment_steps": 6000, "seeds": [0, 1], "episodes": 48},
            **{"splits": ["id", "ood"], "samples_per_start": 4},
            **{"figures": {"reach": share, "diversity": count}, "methods": methods},
            **{"start": {"runs": [], "aggregate": aggregate(0.4)}, "missing": {}},
            "references": {"id": {"chance": {"reach": 0.598}, "optimum": {"reach": 1.0}}},
            **{"best": {"id": {"reach": "subtb"}, "ood": {}, "all": {}}},
            "verdicts": ["id, reach: subtb is ahead of ppo by 10.0 points"],
        }
        (folder / "comparison.json").write_text(json.dumps(plain))
        return folder

    return make
