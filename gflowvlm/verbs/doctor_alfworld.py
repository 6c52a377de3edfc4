"""What `doctor` says on ALFWorld: its packages and what builds them, its games, its 3D views."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from gflowvlm.verbs.doctor import Finding, first_line, package, requirements

OFFICIAL = {"train": 3553, "eval_in_distribution": 140, "eval_out_of_distribution": 134}
"""Playable games of the published splits (Shridhar et al. 2021, table 1)."""
AI2THOR = "2.1.0"
"""The one ai2thor that alfworld's AlfredThorEnv speaks to."""
UNITY = "thor-201909061227-Linux64"
"""The build that it starts on Linux."""

_TEMPLATE = re.compile(r'template :: "([^"]*)"')


def parts() -> Iterator[Finding]:
    """All that ALFWorld needs; none of it is needed by anything else."""
    for tool in ("cc", "c++", "make", "python"):  # the planner's build calls `python` by name
        yield build_tool(tool)
    # Before the packages are imported: alfworld then sets ALFWORLD_DATA and makes the folder.
    games = [*data()]
    packages = [package(each, extra="alfworld") for each in requirements("alfworld")]
    yield from packages
    if all(each.status != "missing" for each in packages):
        yield engine()
    yield from games
    yield thor()


def build_tool(name: str) -> Finding:
    """Whether a tool that compiles is there and runs."""
    path = shutil.which(name)
    if path:
        run = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if run.returncode == 0:
            return Finding(part=f"{name} command", status="ok", told=first_line(run.stdout))
    told = "builds the extra alfworld: " + (
        "activate a virtual environment"
        if name == "python"
        else "install a compiler and make (Debian: build-essential)"
    )
    return Finding(part=f"{name} command", status="mend" if path else "missing", told=told)


def engine() -> Finding:
    """Whether a game's engine can be loaded: imports, the data folder, the compiled planner."""
    from gflowvlm_envs.alfworld.games import require_packages

    part = "ALFWorld engine"
    try:
        require_packages()
    except ValueError as error:
        return Finding(part=part, status="missing", told=str(error))
    try:
        from gflowvlm_envs.alfworld.engine import Engine

        Engine().close()
    except (ImportError, AttributeError, OSError) as error:
        told = (
            f"found it installed but not to be loaded ({first_line(error)}): pip install "
            "--force-reinstall 'gflowvlm[alfworld]', and see that programs may run from the "
            "folder of temporary files (TMPDIR)"
        )
        return Finding(part=part, status="mend", told=told)
    return Finding(part=part, status="ok", told="loads")


def data() -> Iterator[Finding]:
    """The games of each split, where `ALFWORLD_DATA` says."""
    from gflowvlm_envs.alfworld.games import FOLDERS, LAYOUT, data_root

    root = data_root(None)
    named = "ALFWORLD_DATA" if os.environ.get("ALFWORLD_DATA") else "ALFWORLD_DATA is not set"
    if not (root / LAYOUT).is_dir():
        told = (
            f"found no {root / LAYOUT} ({named}): `alfworld-download --data-dir {root}` gets the "
            f"official games, `gflowvlm alfworld generate --output {root}` makes others"
        )
        yield Finding(part="ALFWorld games", status="missing", told=told)
        return
    for split in FOLDERS:
        yield games_of(root, split)


def games_of(root: Path, split: str) -> Finding:
    """How many games of a split can be played, and what is wrong with the others."""
    from gflowvlm_envs.alfworld.games import MANIFEST, find_games
    from gflowvlm_envs.alfworld.world import TASKS

    generated = (root / MANIFEST).is_file()
    part = f"ALFWorld {split.removeprefix('eval_').replace('_', ' ')}"
    again = f"`alfworld-download --data-dir {root}` again"
    try:
        games = find_games(root, split, TASKS)
    except ValueError as error:
        told = f"generated games, none of {split}" if generated else str(error)
        return Finding(part=part, status="missing" if generated else "mend", told=told)
    count = f"{len(games.paths)} {'generated' if generated else 'official'} games"
    if games.skipped["cut off"]:
        told = f"{count} in {games.folder}, {games.skipped['cut off']} more cut off: {again}"
        return Finding(part=part, status="mend", told=told)
    if not generated and len(games.paths) < OFFICIAL[split]:
        told = f"{count} of {OFFICIAL[split]} in {games.folder}, half of a download: {again}"
        return Finding(part=part, status="mend", told=told)
    if other := other_version(games.paths[0]):
        told = f"{count} in {games.folder}, but {other}"
        return Finding(part=part, status="mend", told=told)
    return Finding(part=part, status="ok", told=f"{count} in {games.folder}")


def other_version(game: Path) -> str | None:
    """What tells that a game was written by another alfworld than the one installed, if it was."""
    from gflowvlm_envs.alfworld.games import read_game

    try:
        words = _TEMPLATE.findall(read_game(game)["grammar"])
    except ValueError as error:
        return str(error)
    spec = find_spec("alfworld")
    if spec is None or spec.origin is None:
        return None
    shipped = Path(spec.origin).parent / "data" / "alfred.twl2"
    expected = _TEMPLATE.findall(shipped.read_text(encoding="utf-8"))
    differing = [each for each in words if each not in expected]
    if not differing:
        return None
    return (
        f"they say '{differing[0]}', which alfworld {metadata.version('alfworld')} does not: they "
        "can be played, results are not comparable; get the games of this version"
    )


def thor() -> Finding:
    """What AI2-THOR's 3D views (gflowvlm/ALFWorldThor-v0) need: packages, a display, the build."""
    from gflowvlm_envs.alfworld.simulator import INSTALL, MODULES, display_problem

    part = "AI2-THOR 3D views"
    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        told = f"found no {', '.join(missing)}: {INSTALL}; schematic pictures need none"
        return Finding(part=part, status="missing", told=told)
    version = metadata.version("ai2thor")
    if version != AI2THOR:
        told = f"found ai2thor {version}, expected {AI2THOR}, the one alfworld speaks to: {INSTALL}"
        return Finding(part=part, status="mend", told=told)
    if problem := display_problem():
        return Finding(part=part, status="mend", told=problem)
    build = Path("~/.ai2thor/releases").expanduser() / UNITY
    if platform.system() == "Linux" and not build.exists():
        told = f"found no Unity build {build}: the first start downloads it, 0.4 GB"
        return Finding(part=part, status="missing", told=told)
    return Finding(part=part, status="ok", told=f"ai2thor {version}, a display, a Unity build")
