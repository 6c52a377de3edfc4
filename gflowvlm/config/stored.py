"""A run's configuration, kept in its folder."""

from collections.abc import Sequence
from pathlib import Path

from gflowvlm.config.load import dump_json, load
from gflowvlm.config.schema import RunConfig
from gflowvlm.errors import UserError
from gflowvlm.files import write_text

CONFIG_FILE = "config.json"


def store(config: RunConfig) -> None:
    """Write it into the run's folder, in one step."""
    write_text(config.run_dir / CONFIG_FILE, dump_json(config) + "\n")


def load_stored(folder: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read it back; the run is where its folder lies now, wherever it was written.

    Raises:
        UserError: the folder is not a run's, or an override gives it another place.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(
            f"{folder} is no run folder: found no {CONFIG_FILE} in it, expected what "
            "`gflowvlm train` wrote; pass the folder that it named at its end"
        )
    moved = [each for each in overrides if each.startswith(("name=", "output="))]
    if moved:
        raise UserError(
            f"found {moved[0]} with the run's folder {folder}, where the run goes on: leave it "
            "out, or copy the folder and resume the copy"
        )
    place = folder.resolve()
    # a folder may be called what no recipe may; its stored name says nothing that counts
    config = load(folder / CONFIG_FILE, overrides, {"name": (None, CONFIG_FILE)})
    return config.model_copy(update={"output": place.parent, "name": place.name})
