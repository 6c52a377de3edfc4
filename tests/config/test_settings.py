import ast
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from gflowvlm.config.comparison import CompareConfig
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.section import Section
from gflowvlm.config.settings import nearest, settings_of

PACKAGE = Path(__file__).parents[2] / "gflowvlm"


def test_settings_of_every_alternative_are_listed_with_their_owner() -> None:
    owners = {(setting.path, setting.owner) for setting in settings_of(RunConfig)}
    decay = {owner for path, owner in owners if path == "objective.decay"}
    assert decay == {"subtb", "fl_subtb", "subtb_done"}
    assert ("policy.lora.rank", None) in owners


def test_a_misplaced_key_is_found_and_nonsense_is_not() -> None:
    known = ["seed", "policy.start", "policy.lora.rank"]
    assert nearest("policy.rank", known) == "policy.lora.rank"
    assert nearest("zzz", known) is None


@pytest.mark.parametrize("config", [RunConfig, CompareConfig])
def test_every_setting_is_documented(config: type[Section]) -> None:
    undocumented = {
        setting.path
        for setting in settings_of(config)
        if not setting.field.description and not setting.path.endswith(".type")
    }
    assert undocumented == set()


@pytest.mark.parametrize("config", [RunConfig, CompareConfig])
def test_every_setting_is_read_somewhere(config: type[Section]) -> None:
    read = {
        node.attr
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    # A setting with one legal value only turns others away; nothing has to read it.
    keys = {
        setting.path: setting.path.rpartition(".")[2]
        for setting in settings_of(config)
        if get_origin(setting.field.annotation) is not Literal
        or len(get_args(setting.field.annotation)) > 1
    }
    assert {path for path, key in keys.items() if key not in read} == set()
