import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Low to high; a module imports rooms before its own, and its own.
ROOMS = (
    "__init__", "errors", "files", "episode", "config", "batch", "processes", "prompting",
    "objectives", "exact", "policy", "rollouts", "baselines", "evaluation", "trainer", "pocket",
    "report", "launch", "arguments", "verbs", "cli", "__main__",
)  # fmt: skip
LONGEST_FILE = 300
LONGEST_FUNCTION = 50


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "gflowvlm").parts[0].removesuffix(".py")


def upward_imports(room: str, tree: ast.AST) -> list[str]:
    found = []
    for name in imported(tree):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if package == "gflowvlm" and target in ROOMS and ROOMS.index(target) > ROOMS.index(room):
            found.append(name)
    return found


def test_every_module_imports_only_lower_rooms() -> None:
    wrong = {
        str(path.relative_to(ROOT)): names
        for path in python_files("gflowvlm")
        if (names := upward_imports(room_of(path), ast.parse(path.read_text())))
    }
    assert wrong == {}


def test_every_module_belongs_to_a_room() -> None:
    assert {room_of(path) for path in python_files("gflowvlm")} <= set(ROOMS)


@pytest.mark.parametrize(
    "line",
    ["from gflowvlm.trainer import loop", "import gflowvlm.cli", "from gflowvlm import launch"],
)
def test_an_upward_import_would_be_seen(line: str) -> None:
    assert upward_imports("policy", ast.parse(line)) != []


def test_environments_need_only_gymnasium_numpy_and_pillow() -> None:
    allowed = {"gymnasium", "numpy", "PIL", "gflowvlm_envs"} | set(sys.stdlib_module_names)
    optional = {"alfworld": {"alfworld", "textworld", "fast_downward", "mementos"}}
    for path in python_files("envs"):
        packages = {name.partition(".")[0] for name in imported(ast.parse(path.read_text()))}
        assert packages <= allowed | optional.get(path.parent.name, set()), path


def test_the_package_works_without_alfworld() -> None:
    code = (
        "import sys\n"
        "absent = ['alfworld', 'textworld', 'fast_downward', 'mementos']\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        "import gflowvlm_envs.alfworld.environment, gflowvlm_envs.alfworld.generate\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_stay_short_enough_to_read_at_one_sitting() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in python_files("gflowvlm", "envs", "scripts", "tests")
    }
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_functions_stay_short_enough_to_see_whole() -> None:
    long = {}
    for path in python_files("gflowvlm", "envs", "scripts", "tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                length = node.end_lineno - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = length
    assert long == {}


def test_code_is_plain_ascii() -> None:
    files = python_files("gflowvlm", "envs", "scripts", "tests")
    assert [str(path) for path in files if not path.read_bytes().isascii()] == []
