import subprocess
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from gflowvlm.config.load import load, load_comparison
from gflowvlm.launch.contest import plan

ROOT = Path(__file__).parents[1]
LAUNCHES = {"one_gpu": 1, "two_gpus": 2, "eight_gpus": 8, "several_nodes": 16}
ACCELERATE = ROOT / "configs" / "accelerate"
COMPARE = ROOT / "configs" / "compare"
RECIPES = sorted(
    path
    for folder in ("configs", "examples")
    for path in (ROOT / folder).rglob("*.yaml")
    if not {ACCELERATE, COMPARE} & set(path.parents)
)
COMPARISONS = sorted(COMPARE.glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipe_loads_and_states_what_it_costs(recipe: Path) -> None:
    assert load(recipe).name is not None
    head = [line for line in recipe.read_text().splitlines() if line.startswith("#")]
    assert head, "a recipe's head comment states hardware, duration and expected score"


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_comparison_loads_and_compares_like_with_like(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    comparison, recipes = load_comparison(path)
    assert len(plan(comparison, recipes)) == len(comparison.methods) * len(comparison.seeds)
    assert path.read_text().startswith("#"), "hardware, duration and expected score"


@pytest.mark.parametrize("name", LAUNCHES)
def test_accelerate_reads_each_launch_and_starts_as_many_processes(name: str) -> None:
    path = ACCELERATE / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert isinstance(config, ClusterConfig)
    assert (config.num_processes, config.mixed_precision) == (LAUNCHES[name], "no")
    asked = launch_command_parser().parse_args(["--config_file", str(path), "-m", "gflowvlm"])
    arguments, _, _ = _validate_launch_command(asked)
    assert arguments.multi_gpu == (LAUNCHES[name] > 1)
    assert not any((arguments.use_fsdp, arguments.use_deepspeed, arguments.cpu))


def test_every_launch_is_read_by_the_test_above() -> None:
    assert {path.stem for path in ACCELERATE.glob("*.yaml")} == set(LAUNCHES)


def test_the_slurm_example_starts_one_launcher_a_machine(tmp_path: Path) -> None:
    tools = {
        "scontrol": "echo first; seq 100000",  # more than a pipe holds
        "srun": 'shift; "$@"',
        "accelerate": 'printf "%s\\n" "$@"',
    }
    for tool, does in tools.items():
        (tmp_path / tool).write_text(f"#!/usr/bin/env bash\n{does}\n")
        (tmp_path / tool).chmod(0o755)
    slurm = {"NNODES": "2", "GPUS_ON_NODE": "4", "NODEID": "1", "JOB_NODELIST": "x"}
    said = subprocess.run(
        ["bash", str(ACCELERATE / "slurm.sh"), "recipe.yaml", "seed=1"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **{f"SLURM_{k}": v for k, v in slurm.items()}},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    arguments = launch_command_parser().parse_args(said[1:])
    assert (arguments.num_machines, arguments.num_processes, arguments.machine_rank) == (2, 8, 1)
    assert (arguments.main_process_ip, arguments.training_script) == ("first", "gflowvlm")
    assert arguments.training_script_args == ["train", "recipe.yaml", "seed=1"]
