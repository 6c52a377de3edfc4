from collections.abc import Callable
from pathlib import Path

import pytest

from gflowvlm.config.error import ConfigError
from gflowvlm.config.load import load

RECIPE = """\
environment:
  id: gflowvlm/NumberLine-v0
reward: {type: log_linear}
objective:
  type: subtb
  decay: 0.5
trainer:
  max_updates: 20
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "number_line" / "subtb.yaml"
    path.parent.mkdir()
    path.write_text(RECIPE)
    return path


@pytest.fixture
def complaint(recipe: Path) -> Callable[..., str]:
    """The message for the recipe under some overrides, without the recipe's own folder."""

    def message(*overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(recipe, overrides)
        return str(caught.value).replace(f"{recipe.parent}/", "")

    return message
