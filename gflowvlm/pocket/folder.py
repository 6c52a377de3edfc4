"""Where the embedded model and its start adapters lie."""

from pathlib import Path

from gflowvlm.errors import UserError

MODEL_FOLDER = Path(__file__).parent / "model"
ADAPTER_FOLDER = Path(__file__).parent / "adapters"


def find_model(name: str) -> str | Path:
    """`pocket` is the embedded model, a folder is itself, anything else a hub id."""
    if name == "pocket":
        return MODEL_FOLDER
    return Path(name) if Path(name).is_dir() else name


def find_adapter(name: str) -> Path:
    """`pocket/NAME` is an adapter inside the package, anything else a folder.

    Raises:
        UserError: there is no such adapter.
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
    return folder
