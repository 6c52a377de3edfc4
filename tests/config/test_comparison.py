from pathlib import Path

import pytest

from gflowvlm.config.error import ConfigError
from gflowvlm.config.load import load_comparison
from gflowvlm.config.objective import DetailedBalance, SubTrajectoryBalance

COMPARISON = """\
base: number_line/subtb.yaml
overrides:
  trainer: {group_size: 3}
methods:
  plain: {}
  db: {overrides: {objective: {type: db}, trainer.group_size: 2}}
environment_steps: 100
"""


def test_a_method_overrides_what_it_names_and_no_more(recipe: Path) -> None:
    path = recipe.parent.parent / "comparison.yaml"
    path.write_text(COMPARISON)
    _, recipes = load_comparison(path, ["methods.plain.overrides.policy.lora.rank=2"])
    assert recipes["db"].objective == DetailedBalance()  # without subtb's decay
    plain = recipes["plain"]
    assert plain.objective == SubTrajectoryBalance(decay=0.5)
    assert (plain.policy.lora.rank, plain.policy.lora.alpha) == (2, 16)
    groups = [(r.trainer.group_size, r.trainer.max_updates) for r in recipes.values()]
    assert groups == [(3, 20), (2, 20)]


def test_a_mistake_in_a_method_is_told_with_its_own_line(recipe: Path) -> None:
    path = recipe.parent.parent / "comparison.yaml"
    path.write_text(COMPARISON.replace("group_size: 2", "group_sise: 2"))
    with pytest.raises(ConfigError, match=r"comparison\.yaml:6: trainer\.group_sise: unknown"):
        load_comparison(path)
