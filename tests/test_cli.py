import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gflowvlm
from gflowvlm import cli
from gflowvlm.config.schema import RunConfig
from gflowvlm.errors import UserError
from gflowvlm.pocket.folder import MODELS

RECIPE = """\
environment: {id: gflowvlm/NumberLine-v0}
reward: {type: log_linear}
objective: {type: subtb}
"""


class Launch(ModuleType):
    """Stands where `gflowvlm.launch` is imported from; remembers calls, or fails as it is told."""

    def __init__(self) -> None:
        super().__init__("gflowvlm.launch")
        self.calls: list[tuple[Any, dict[str, Any]]] = []
        self.failure: BaseException | None = None

    def train(self, config: RunConfig, **options: Any) -> Path:
        return self._note(config, options)

    def evaluate(self, target: Path, **options: Any) -> Path:
        return self._note(target, options)

    def play(self, target: Path, **options: Any) -> Path:
        return self._note(target, options)

    def export(self, run: Path, folder: Path) -> Path:
        return self._note(run, {"folder": folder})

    def _note(self, what: Any, options: dict[str, Any]) -> Path:
        self.calls.append((what, options))
        if self.failure is not None:
            raise self.failure
        return Path("somewhere")


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Launch:
    stand_in = Launch()
    monkeypatch.setitem(sys.modules, "gflowvlm.launch", stand_in)
    monkeypatch.setattr(gflowvlm, "launch", stand_in, raising=False)
    return stand_in


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_train_hands_over_the_config_with_overrides_on_either_side_of_the_flag(
    launch: Launch, recipe: Path
) -> None:
    assert cli.main(["train", str(recipe), "seed=3", "--resume", "name=x"]) == 0
    config, options = launch.calls[0]
    assert (config.seed, config.name, options) == (3, "x", {"resume": True})


def test_train_resumes_from_a_run_folder(
    launch: Launch, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    cli.main(["config", str(recipe), "name=kept", "seed=4"])
    (run / "config.json").write_text(capsys.readouterr().out)
    assert cli.main(["train", str(run), "--resume"]) == 0
    config, _ = launch.calls[0]
    assert (config.run_dir, config.seed) == (run, 4)  # where it lies, not where it was written


def test_evaluate_hands_over_its_options(launch: Launch, recipe: Path) -> None:
    arguments = ["--split", "id", "--split", "ood", "--episodes", "9", "--seed", "2", "--start"]
    arguments += ["--samples-per-start", "3", "--no-references"]
    assert cli.main(["evaluate", str(recipe), *arguments]) == 0
    target, options = launch.calls[0]
    assert target == recipe
    assert options == {
        "splits": ["id", "ood"],
        "episodes": 9,
        "samples_per_start": 3,
        "seed": 2,
        "batch_size": 32,
        "start": True,
        "references": False,
    }


def test_evaluate_leaves_open_what_the_recipe_decides(launch: Launch, recipe: Path) -> None:
    assert cli.main(["evaluate", str(recipe)]) == 0
    _, options = launch.calls[0]
    assert (options["splits"], options["episodes"], options["start"]) == (None, None, False)
    assert options["references"]


def test_play_and_export_hand_over_their_options(launch: Launch, recipe: Path) -> None:
    assert cli.main(["play", str(recipe), "--seed", "3", "--gif", "a.gif"]) == 0
    assert cli.main(["export", "runs/a", "--merged", "b"]) == 0
    options = {"episodes": 3, "split": None, "seed": 3, "gif": Path("a.gif")}
    assert launch.calls == [(recipe, options), (Path("runs/a"), {"folder": Path("b")})]


WRONG: dict[str, list[str]] = {
    "unknown setting": ["config", "RECIPE", "trainer.max_updats=3"],
    "wrong type": ["config", "RECIPE", "trainer.max_updates=many"],
    "malformed override": ["config", "RECIPE", "trainer.max_updates"],
    "missing file": ["config", "nowhere.yaml"],
    "missing target": ["evaluate", "nowhere.yaml"],
    "duplicate key": ["train", "DUPLICATE"],
    "folder without resume": ["train", "FOLDER"],
    "folder that is no run": ["train", "FOLDER", "--resume"],
    "unknown verb": ["trian", "RECIPE"],
    "no verb": [],
    "unknown option": ["train", "RECIPE", "--resme"],
    "superfluous argument": ["evaluate", "RECIPE", "seed=1"],
    "no games": ["evaluate", "RECIPE", "--episodes", "0"],
    "negative seed": ["evaluate", "RECIPE", "--seed", "-1"],
    "picture of another kind": ["play", "RECIPE", "--gif", "games.mp4"],
    "export to nowhere": ["export", "FOLDER"],
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gives_one_line_and_exit_code_2(
    case: str, launch: Launch, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    duplicate = recipe.with_name("duplicate.yaml")
    duplicate.write_text(RECIPE + "objective: {type: db}\n")
    places = {"RECIPE": str(recipe), "DUPLICATE": str(duplicate), "FOLDER": str(recipe.parent)}
    try:
        code = cli.main([places.get(word, word) for word in WRONG[case]])
    except SystemExit as leave:  # argparse's way out
        code = int(str(leave.code))
    captured = capsys.readouterr()
    assert code == 2
    assert len(captured.err.splitlines()) == 1, captured.err
    assert captured.out == ""
    assert launch.calls == []


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (UserError("found x, expected y"), "found x, expected y"),
        (PermissionError(13, "Permission denied", "runs/a"), "runs/a: Permission denied"),
    ],
)
def test_what_the_user_can_mend_shows_no_traceback(
    failure: Exception,
    line: str,
    launch: Launch,
    recipe: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launch.failure = failure
    assert cli.main(["train", str(recipe)]) == 2
    assert capsys.readouterr().err == line + "\n"
    monkeypatch.setenv("GFLOWVLM_DEBUG", "1")
    with pytest.raises(type(failure)):
        cli.main(["train", str(recipe)])


@pytest.mark.parametrize("bug", [ValueError("ours"), OSError("no file name"), AssertionError()])
def test_our_own_mistakes_are_not_dressed_up(bug: Exception, launch: Launch, recipe: Path) -> None:
    launch.failure = bug
    with pytest.raises(type(bug)):
        cli.main(["train", str(recipe)])


def test_an_interrupt_is_said_and_exits_with_130(
    launch: Launch, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launch.failure = KeyboardInterrupt()
    assert cli.main(["train", str(recipe)]) == 130
    assert capsys.readouterr().err == "gflowvlm: interrupted\n"


@pytest.mark.parametrize("arguments", [["--help"], ["config", "RECIPE"], ["pocket", "--help"]])
def test_light_verbs_do_not_wait_for_torch(arguments: list[str], recipe: Path) -> None:
    words = [str(recipe) if word == "RECIPE" else word for word in arguments]
    code = (
        "import sys\n"
        "from gflowvlm.cli import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit as leave:\n"
        "    assert leave.code in (None, 0)\n"
        "heavy = {'torch', 'transformers', 'numpy', 'gymnasium'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert finished.returncode == 0, finished.stderr


def test_the_card_of_the_pocket_model_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MODELS, "pocket", tmp_path)
    assert cli.main(["pocket", "card"]) == 2
    assert "found no" in capsys.readouterr().err
    (tmp_path / "README.md").write_text("what it can do")
    assert cli.main(["pocket", "card"]) == 0
    assert capsys.readouterr().out == "what it can do\n"


def test_the_package_runs_as_a_module(recipe: Path) -> None:
    command = [sys.executable, "-m", "gflowvlm", "config", str(recipe), "seed=x"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert finished.stderr == (
        'override seed=x: seed: found "x", expected a whole number; '
        "change it, or leave it out for the default 0\n"
    )
