from pathlib import Path

import pytest

from gflowvlm.config.load import load

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipe_loads_and_states_what_it_costs(recipe: Path) -> None:
    assert load(recipe).name is not None
    head = [line for line in recipe.read_text().splitlines() if line.startswith("#")]
    assert head, "a recipe's head comment states hardware, duration and expected score"
