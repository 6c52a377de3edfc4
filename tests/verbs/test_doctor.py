import json
import platform
import shutil
import sys
import warnings
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from gflowvlm.cli import main
from gflowvlm.pocket import folder
from gflowvlm.verbs import doctor, doctor_alfworld
from gflowvlm_envs.alfworld import games, simulator
from gflowvlm_envs.alfworld.games import LAYOUT, MANIFEST


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and (status, what is told) by part."""
    code = main(["doctor"])
    lines = capsys.readouterr().out.splitlines()[:-1]
    return code, {line[8:38].strip(): (line[:8].strip(), line[38:]) for line in lines}


def test_all_that_is_needed_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = report(capsys)
    assert code == 0
    assert said["Python"][0] == said["peft"][0] == said["CPU"][0] == "ok"
    assert said["torch"] == ("ok", metadata.version("torch"))
    assert said["pocket VLMs"] == ("ok", "1.5 and 1.5 M parameters, start adapters 2")
    asked = {line.partition(">")[0] for line in doctor.requirements()}
    assert asked <= said.keys()
    assert len(asked) > 10


def test_a_package_that_is_missing_or_too_old_is_an_exit_code_of_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    true = metadata.version

    def version(name: str) -> str:
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return "0.9" if name == "accelerate" else true(name)

    monkeypatch.setattr(metadata, "version", version)
    code, said = report(capsys)
    assert code == 1
    assert said["peft"] == ("missing", "expected >=0.18: pip install 'peft>=0.18'")
    assert said["accelerate"][0] == "mend"
    assert said["accelerate"][1].startswith("found 0.9, expected >=1.10: ")


def test_another_python_is_refused() -> None:
    told = "found 3.14.0, expected 3.11 to 3.13: make an environment with one"
    assert doctor.python((3, 14, 0)).told == told
    assert doctor.python((3, 10, 9)).status == "mend"
    assert doctor.python((3, 13, 5)).status == "ok"


def test_an_installed_package_says_itself_what_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["numpy>=2", "alf==1 ; extra == 'alfworld'", "old>=1; python_version < '3'"]
    monkeypatch.setattr(doctor, "_PYPROJECT", Path("nowhere"))
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    assert doctor.requirements() == ["numpy>=2"]
    assert doctor.requirements("alfworld") == ["alf==1"]


def test_weights_cut_off_are_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder.MODEL_FOLDER, model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    monkeypatch.setitem(folder.MODELS, "pocket", model)
    code, said = report(capsys)
    assert (code, said["pocket VLMs"][0]) == (1, "mend")
    assert "model.safetensors" in said["pocket VLMs"][1]
    (model / "config.json").unlink()
    assert "found no config.json" in doctor.pocket_vlms().told


def test_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(name="Pretended GPU", total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: found)
    cpu, *gpus = doctor.devices()
    assert (cpu.part, [each.part for each in gpus]) == ("CPU", ["GPU 0", "GPU 1"])
    assert gpus[1].told.startswith("Pretended GPU, 24 GiB, CUDA")


def test_a_driver_that_torch_cannot_use_is_told_with_torchs_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_available() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old\nmore", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}")
    gpu = [*doctor.devices()][-1]
    assert gpu.status == "mend"
    assert "(The NVIDIA driver on your system is too old)" in gpu.told
    assert "built without CUDA" in doctor.no_gpu(None, None, driver=True).told
    assert doctor.no_gpu(None, "13.0", driver=False).status == "missing"


def test_without_compilers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_alfworld.build_tool("python").status == "ok"
    monkeypatch.setenv("PATH", "")
    found = doctor_alfworld.build_tool("c++")
    assert found.status == "missing"
    assert "build-essential" in found.told


def test_an_engine_that_does_not_load_is_told_from_one_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoilt() -> None:
        raise OSError("libdownward.so: failed to map segment\nfrom shared object")

    stand_in: Any = ModuleType("gflowvlm_envs.alfworld.engine")
    stand_in.Engine = spoilt
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    monkeypatch.setattr(games, "require_packages", lambda: None)
    found = doctor_alfworld.engine()
    assert found.status == "mend"
    assert "(libdownward.so: failed to map segment): " in found.told
    monkeypatch.undo()
    monkeypatch.setattr(games, "find_spec", lambda name: None)
    assert doctor_alfworld.engine().status == "missing"


WORDS = 'template :: "go to {r}"; template :: "move {o} to {r}";'


def write_games(root: Path, split: str, count: int, words: str = WORDS) -> list[Path]:
    made = []
    for index in range(count):
        trial = root / LAYOUT / split / f"pick_and_place_simple-{index}" / "trial"
        trial.mkdir(parents=True)
        (trial / "traj_data.json").write_text("{}")
        game = {"pddl_domain": "", "grammar": words, "pddl_problem": "", "solvable": True}
        made.append(trial / "game.tw-pddl")
        made[-1].write_text(json.dumps(game))
    return made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `ALFWORLD_DATA` points; an alfworld that says "move" is installed."""
    package = tmp_path / "package"
    (package / "data").mkdir(parents=True)
    (package / "data" / "alfred.twl2").write_text(WORDS)
    spec = ModuleSpec("alfworld", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(doctor_alfworld, "find_spec", lambda name: spec)
    monkeypatch.setattr(metadata, "version", lambda name: "0.4.2")
    monkeypatch.setattr(
        doctor_alfworld, "OFFICIAL", dict.fromkeys(("train", "eval_in_distribution"), 2)
    )
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_games_that_are_not_there_are_missing_with_two_ways_to_get_them(root: Path) -> None:
    [found] = doctor_alfworld.data()
    assert found.status == "missing"
    assert f"`alfworld-download --data-dir {root}`" in found.told
    assert f"`gflowvlm alfworld generate --output {root}`" in found.told


def test_half_a_download_is_told_from_a_whole_one(root: Path) -> None:
    write_games(root, "train", 2)
    seen = write_games(root, "valid_seen", 2)
    whole, seen_whole, unseen = doctor_alfworld.data()
    assert (whole.status, seen_whole.status, unseen.status) == ("ok", "ok", "mend")
    assert whole.told == f"2 official games in {root / LAYOUT / 'train'}"
    assert "alfworld-download" in unseen.told
    seen[0].unlink()
    games._scan.cache_clear()
    half = doctor_alfworld.games_of(root, "eval_in_distribution")
    assert (half.status, half.told[:24]) == ("mend", "1 official games of 2 in")
    seen[0].write_text(seen[1].read_text()[:-9])
    games._scan.cache_clear()
    assert "1 more cut off" in doctor_alfworld.games_of(root, "eval_in_distribution").told


def test_generated_games_are_called_so_and_need_no_number(root: Path) -> None:
    write_games(root, "train", 1)
    (root / MANIFEST).write_text("{}")
    train, seen, _ = doctor_alfworld.data()
    assert (train.status, train.told[:17]) == ("ok", "1 generated games")
    assert (seen.status, seen.told) == ("missing", "generated games, none of eval_in_distribution")


def test_games_of_another_alfworld_are_told_by_their_words(root: Path) -> None:
    write_games(root, "train", 2, WORDS.replace("move {o} to", "put {o} in/on"))
    found = doctor_alfworld.games_of(root, "train")
    assert found.status == "mend"
    assert "'put {o} in/on {r}', which alfworld 0.4.2 does not" in found.told
    for game in write_games(root, "valid_seen", 2):
        game.write_text('{"solvable": true}')
    assert (
        "expected one of alfworld 0.4"
        in doctor_alfworld.games_of(root, "eval_in_distribution").told
    )


def test_what_3d_views_need_is_told_one_by_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(doctor_alfworld, "find_spec", lambda name: name != "cv2" or None)
    found = doctor_alfworld.thor()
    assert (found.status, found.told[:14]) == ("missing", "found no cv2: ")
    monkeypatch.setattr(doctor_alfworld, "find_spec", lambda name: name)
    monkeypatch.setattr(metadata, "version", lambda name: "5.0.0")
    found = doctor_alfworld.thor()
    assert (found.status, found.told[:35]) == ("mend", "found ai2thor 5.0.0, expected 2.1.0")
    monkeypatch.setattr(metadata, "version", lambda name: "2.1.0")
    monkeypatch.setattr(simulator, "display_problem", lambda: "found no X server at :9")
    assert doctor_alfworld.thor().told == "found no X server at :9"
    monkeypatch.setattr(simulator, "display_problem", lambda: None)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert doctor_alfworld.thor().status == "missing"
    (tmp_path / ".ai2thor" / "releases" / doctor_alfworld.UNITY).mkdir(parents=True)
    assert doctor_alfworld.thor().status == "ok"


def test_a_display_is_asked_whether_it_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "found no DISPLAY and no xdpyinfo" in (simulator.display_problem() or "")
    monkeypatch.setenv("DISPLAY", ":9")
    assert simulator.display_problem() is None  # nobody to ask
    probe = tmp_path / "xdpyinfo"
    probe.write_text('#!/bin/sh\n[ "$DISPLAY" = :7 ]\n')
    probe.chmod(0o755)
    assert "found no X server at DISPLAY :9, expected one" in (simulator.display_problem() or "")
    monkeypatch.setenv("DISPLAY", ":7")
    assert simulator.display_problem() is None
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setenv("DISPLAY", ":9")
    assert simulator.display_problem() is None
