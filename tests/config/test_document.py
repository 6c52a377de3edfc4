from typing import Any

import pytest

from gflowvlm.config.document import read_document, read_value
from gflowvlm.config.error import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 0.00001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("3", 3),
        ("-3", -3),
        ("010", 10),
        ("no", "no"),
        ("true", True),
        ("'true'", "true"),
        ("null", None),
        ("", None),
        ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"),
        (".nan", ".nan"),
        ("[1, a, 2e0]", [1, "a", 2.0]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: Any) -> None:
    found = read_value(text, "here")
    assert found == value
    assert type(found) is type(value)


def test_a_key_given_twice_is_refused_with_both_lines() -> None:
    text = "a:\n  b: 1\n  c: 2\n  b: 3\n"
    with pytest.raises(ConfigError) as caught:
        read_document(text, "r.yaml")
    assert str(caught.value) == (
        "r.yaml:4: a.b is given twice, first at r.yaml:2; keep one of them"
    )


def test_a_key_may_come_back_in_another_section() -> None:
    assert read_document("a: {x: 1}\nb: {x: 2}\n", "r").values == {"a": {"x": 1}, "b": {"x": 2}}


def test_a_place_is_the_setting_or_the_closest_section_around_it() -> None:
    document = read_document("a:\n  b: 1\n", "r.yaml")
    assert document.place("a.b") == "r.yaml:2"
    assert document.place("a.missing.deep") == "r.yaml:1"
    assert document.place("elsewhere") == "r.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "r.yaml: found a list at the top"),
        ("hello\n", "r.yaml: found a single value at the top"),
        ("a: [1\nb: 2\n", "r.yaml: not valid YAML in line 2"),
        ("? [1, 2]\n: 3\n", "r.yaml:1: found a list as a key"),
    ],
)
def test_what_is_no_recipe_says_so_on_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_document(text, "r.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_empty_file_has_no_values() -> None:
    assert read_document("# nothing\n", "r.yaml").values == {}
