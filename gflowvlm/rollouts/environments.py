"""From a name in a configuration to an environment, and from what it shows to an Observation."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

import gflowvlm_envs  # noqa: F401 (registers the namespace gflowvlm/)
from gflowvlm.episode import Observation
from gflowvlm.errors import UserError
from gflowvlm_envs.history import HistoryWrapper

DEFAULT_SPLIT = "id"
"""The one split of an environment that declares none: its constructor's own defaults."""


def make_environment(
    env_id: str, split: str = DEFAULT_SPLIT, kwargs: Mapping[str, Any] | None = None
) -> HistoryWrapper:
    """A registered environment with a split's arguments, `kwargs` over them, and its record.

    `module:name` imports the module first, so that ids registered elsewhere are found; a file in
    the working directory will do.

    Raises:
        UserError: unknown id, split or argument, or arguments the environment refuses.
    """
    with refusals_of(env_id):
        creator = _creator(env_id)
    splits = getattr(creator, "splits", {DEFAULT_SPLIT: {}})
    if split not in splits:
        raise UserError(f"{env_id}: found split {split!r}, expected {_one_of(split, splits)}")
    arguments = {**splits[split], **(kwargs or {})}
    parameters = inspect.signature(creator).parameters
    if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        for name in arguments:
            if name not in parameters:
                raise UserError(
                    f"{env_id}: found argument {name!r}, expected {_one_of(name, parameters)}"
                )
    with refusals_of(env_id):
        return HistoryWrapper(gymnasium.make(env_id, **arguments))


@contextmanager
def refusals_of(env_id: str) -> Iterator[None]:
    """What an environment refuses inside, in one line of its own, is the user's to mend.

    Raises:
        UserError: in place of a ValueError, or of what Gymnasium lacks.
    """
    try:
        yield
    except UserError:
        raise
    except (ValueError, gymnasium.error.Error) as error:
        raise UserError(f"{env_id}: {error}") from error


def observe(observation: Any, info: Mapping[str, Any]) -> Observation:
    """What `reset` and `step` return, as the policy sees it.

    `legal_actions` must be in `info`; `task` and `text` may be missing and are then empty.

    Raises:
        UserError: no legal actions, or an observation that is no image.
    """
    if not info.get("legal_actions"):
        raise UserError(
            f"found info with {sorted(info)}, expected a non-empty 'legal_actions': name the "
            "actions of each step, in the order of their indices"
        )
    image = np.asarray(observation)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"found an observation {image.dtype} {list(image.shape)}, expected uint8 "
            "[height, width, 3]: render the environment into an image"
        )
    return Observation(
        image=image,
        task=info.get("task", ""),
        text=info.get("text", ""),
        legal_actions=tuple(info["legal_actions"]),
        reply_fields=tuple(facts_of(info)),
    )


def facts_of(info: Mapping[str, Any]) -> dict[str, str]:
    """Truth of the fields a reply states; none where the environment does not say."""
    return dict(info.get("facts", {}))


def extra_steps_of(info: Mapping[str, Any]) -> int:
    """Steps beyond the shortest way so far; 0 where the environment does not say."""
    return int(info.get("extra_steps", 0))


def distance_of(info: Mapping[str, Any]) -> int | None:
    """Steps that the shortest way to the goal still needs; None where nobody says."""
    return int(info["distance"]) if "distance" in info else None


def progress_of(info: Mapping[str, Any]) -> float:
    """Share of the goal's conditions that hold; 0 where the environment does not say."""
    return float(info.get("progress", 0.0))


def task_type_of(info: Mapping[str, Any]) -> str | None:
    """What kind of task the episode is; None where the environment does not say."""
    return str(info["task_type"]) if "task_type" in info else None


def success_chance_of(info: Mapping[str, Any]) -> float | None:
    """Probability that the last action, which ended the game, succeeded; None where unknown."""
    return float(info["success_chance"]) if "success_chance" in info else None


def success_of(info: Mapping[str, Any], reward: float, terminated: bool) -> bool:
    """The environment's own word; where it gives none, that its last step earned something."""
    if "success" in info:
        return bool(info["success"])
    return terminated and reward > 0


def _creator(env_id: str) -> Callable[..., Any]:
    """The class or function that builds the environment."""
    module, _, name = env_id.rpartition(":")
    if module:
        _import(module, env_id)
    spec = gymnasium.registry.get(name)
    if spec is None:
        raise UserError(f"found environment {name!r}, expected {_one_of(name, gymnasium.registry)}")
    assert spec.entry_point is not None
    entry = spec.entry_point
    return load_env_creator(entry) if isinstance(entry, str) else entry


def _import(module: str, env_id: str) -> None:
    """Import the module that registers an id; the working directory is searched first."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # `python -m gflowvlm` does so itself, the command does not
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        wanted = module == error.name or module.startswith(f"{error.name}.")
        remedy = f"run from the folder that holds it ({here} does not)" if wanted else "install it"
        raise UserError(
            f"{env_id}: found no module {error.name!r}, expected one to import: {remedy} or mend "
            "the name"
        ) from error
    except (ImportError, SyntaxError) as error:
        raise UserError(f"{env_id}: module {module} cannot be imported: {error}") from error


def _one_of(name: str, known: Iterable[str]) -> str:
    """The nearest known names, or all of them where they are few."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    shown = names if len(names) <= 8 else close or sorted(n for n in names if "gflowvlm/" in n)
    return f"one of {', '.join(shown)}: change the name"
