from pathlib import Path

import pytest

from gflowvlm.config.error import ConfigError
from gflowvlm.config.load import load, load_comparison
from gflowvlm.config.objective import SubTrajectoryBalance, VarianceTrajectoryBalance
from gflowvlm.config.reinforcement import ProximalPolicyOptimisation
from gflowvlm.config.schedule import Schedule


@pytest.fixture
def child(recipe: Path) -> Path:
    recipe.write_text(
        "name: parent\nbeta: {start: 0.5, end: 1, over: 3, shape: exponential}\n"
        + recipe.read_text()
    )
    return recipe.with_name("ppo.yaml")


def test_what_a_recipe_says_is_laid_over_what_it_extends(child: Path) -> None:
    child.write_text(
        "extends: subtb.yaml\nobjective: {type: ppo}\nbeta: {start: 1, end: 1, over: 2}\n"
        "trainer: {group_size: 3}\npolicy: {lora: {rank: 2}}\n"
    )
    config = load(child, ["policy.lora.alpha=5"])
    assert config.name == "number_line-ppo"  # its own
    assert config.objective == ProximalPolicyOptimisation()  # without subtb's decay
    assert config.beta == Schedule(start=1, end=1, over=2)  # without the parent's shape
    assert (config.trainer.max_updates, config.trainer.group_size) == (20, 3)
    assert (config.policy.lora.rank, config.policy.lora.alpha) == (2, 5)


def test_recipes_extend_in_a_chain_and_from_other_folders(child: Path) -> None:
    child.write_text("extends: subtb.yaml\ntrainer: {max_updates: 7}\n")
    last = child.parent.parent / "last.yaml"
    last.write_text("extends: number_line/ppo.yaml\nname: last\nobjective: {type: var_tb}\n")
    config = load(last)
    assert (config.name, config.trainer.max_updates) == ("last", 7)
    assert config.objective == VarianceTrajectoryBalance()
    assert load(child).objective == SubTrajectoryBalance(decay=0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: subtv.yaml", r"ppo.yaml:1: found extends: subtv.yaml, .* did you mean subtb.y"),
        ("extends: [subtb.yaml]", r"ppo.yaml:1: found extends: \[.*\], expected the file of a rec"),
        ("extends: ppo.yaml", r"ppo.yaml:1: .* a circle \(ppo.yaml -> ppo.yaml\), expected"),
        ("extends: other.yaml", r"other.yaml:1: .* \(ppo.yaml -> other.yaml -> other.yaml\)"),
        ("extends: xy.md", r"ppo.yaml:1: found extends: xy.md, .*; correct the path"),
        ("extends: ppo2.yaml", r"found extends: ppo2.yaml, (?!.*did you mean.*ppo.yaml)"),
        ("seed: 1\nextends: .", r"ppo.yaml:2: found extends: ., expected a file, .* correct"),
        ("extends: subtb.yaml\ntrainer.group_size: 4", "trainer.group_size: unknown setting"),
        ("extends: subtb.yaml\npolicy: {lora.rank: 2}", "policy.lora.rank: unknown setting"),
        (
            "extends: subtb.yaml\nobjective:\n  type: subtb\n  decay: -1",
            "ppo.yaml:4: objective.decay: found -1",
        ),
        (
            "extends: subtb.yaml\ntrainer: {max_update: 3}",
            r"ppo.yaml:2: trainer.max_update: unknown setting; did you mean trainer.max_updates",
        ),
        ("extends: subtb.yaml\nreward:\n  step_cost: 3", r"ppo.yaml:2: reward.type: found nothing"),
        ("extends: subtb.yaml\nobjective: null", r"ppo.yaml:2: objective: found null"),
    ],
)
def test_what_cannot_be_extended_gets_one_line(child: Path, text: str, said: str) -> None:
    child.write_text(text + "\n")
    child.with_name("other.yaml").write_text("extends: other.yaml\n")
    with pytest.raises(ConfigError, match=said) as refusal:
        load(child)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_mistake_in_what_is_extended_is_told_with_its_line_there(child: Path) -> None:
    child.with_name("subtb.yaml").write_text("objective: {type: subtb}\nreward: {tipe: x}\n")
    child.write_text("extends: subtb.yaml\n")
    with pytest.raises(ConfigError) as caught:
        load(child)
    said = str(caught.value).replace(f"{child.parent}/", "")
    assert "subtb.yaml:2: reward" in said
    assert "ppo.yaml: environment is missing" in said


def test_a_method_takes_its_own_recipe_or_else_the_base(child: Path) -> None:
    child.write_text("extends: subtb.yaml\nobjective: {type: ppo}\n")
    path = child.parent.parent / "comparison.yaml"
    path.write_text(
        "methods: {ppo: {recipe: number_line/ppo.yaml}, bare: {}}\nenvironment_steps: 9\n"
    )
    with pytest.raises(ConfigError, match="no base, and method bare without a recipe"):
        load_comparison(path)
    path.write_text(path.read_text() + "base: number_line/subtb.yaml\n")
    _, recipes = load_comparison(path)
    assert recipes["bare"].objective == SubTrajectoryBalance(decay=0.5)
    assert recipes["ppo"].objective == ProximalPolicyOptimisation()


def test_an_empty_section_below_is_filled(child: Path) -> None:
    child.with_name("subtb.yaml").write_text(
        "environment: {id: x}\nreward: {type: log_linear}\nobjective: {type: db}\ntrainer:\n"
    )
    child.write_text("extends: subtb.yaml\ntrainer: {group_size: 3}\n")
    assert load(child).trainer.group_size == 3


def test_extends_stands_in_a_recipe_s_file_alone(recipe: Path) -> None:
    said = "extends: stands at the top of a recipe's file alone"
    with pytest.raises(ConfigError, match=said):
        load(recipe, ["extends=subtb.yaml"])
    path = recipe.with_name("comparison.yaml")
    path.write_text(
        "extends: subtb.yaml\nmethods: {a: {recipe: subtb.yaml}}\nenvironment_steps: 9\n"
    )
    with pytest.raises(ConfigError, match=said):
        load_comparison(path)


def test_a_recipe_from_the_current_folder_is_found_too(
    child: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(child.parent.parent)
    child.write_text("extends: number_line/subtb.yaml\n")
    assert load(child).objective == SubTrajectoryBalance(decay=0.5)
