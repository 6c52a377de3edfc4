"""Where the embedded models and their start adapters lie."""

import json
from pathlib import Path

from gflowvlm.errors import UserError

MODEL_FOLDER = Path(__file__).parent / "model"
HOME_FOLDER = Path(__file__).parent / "home"
ADAPTER_FOLDER = Path(__file__).parent / "adapters"
MODELS = {"pocket": MODEL_FOLDER, "pocket-home": HOME_FOLDER}


def find_model(name: str) -> str | Path:
    """`pocket` and `pocket-home` are embedded, a folder is itself, anything else a hub id."""
    if name in MODELS:
        return MODELS[name]
    return Path(name) if Path(name).is_dir() else name


def find_adapter(name: str, model: str) -> Path:
    """The adapter that `policy.start` names: `pocket/NAME` is inside the package, else a folder.

    Args:
        name: of the adapter.
        model: what `policy.model` names. An adapter of one embedded model fits the other's shapes
            and means nothing there.

    Raises:
        UserError: there is no such adapter, or it was trained on the other embedded model.
    """
    embedded = sorted(path.name for path in ADAPTER_FOLDER.glob("*/"))
    if name.startswith("pocket/"):
        folder = ADAPTER_FOLDER / name.removeprefix("pocket/")
        expected = "one of " + ", ".join(f"pocket/{e}" for e in embedded)
    else:
        folder = Path(name)
        if (folder / "adapter").is_dir():
            folder /= "adapter"
        expected = "a finished run or the adapter/ folder in it"
    if not (folder / "adapter_config.json").is_file():
        raise UserError(
            f"policy.start: found no adapter in {name}, expected {expected}: "
            "mend the path or train that run first"
        )
    _require_base(folder, model)
    return folder


def _require_base(adapter: Path, model: str) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    trained_on = _embedded(Path(config.get("base_model_name_or_path") or ""))
    asked = _embedded(Path(find_model(model)))
    if trained_on and asked and trained_on != asked:
        raise UserError(
            f"policy.start: found an adapter of {trained_on} in {adapter}, expected one of "
            f"{asked}: set policy.model to {trained_on}, or name another start"
        )


def _embedded(folder: Path) -> str | None:
    """Name of the embedded model that a folder is, wherever the package was installed."""
    for name, known in MODELS.items():
        if folder.parts[-3:] == known.parts[-3:]:  # gflowvlm/pocket/...
            return name
    return None
