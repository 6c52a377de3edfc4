import re

import numpy as np
import pytest

from gflowvlm.baselines.corruption import corrupt_digits, still_true

ALPHABET = list('0123456789 abc+-="{}:,\\\u00b2\u0663')  # two digits of other scripts stay


def texts(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(ALPHABET, size=rng.integers(0, 12))) for _ in range(count)]


def test_a_corruption_differs_always_and_only_at_digits() -> None:
    rng = np.random.default_rng(1)
    with_digits = 0
    for text in texts(2000):
        corrupted = corrupt_digits(text, rng)
        if not re.search("[0-9]", text):
            assert corrupted is None
            continue
        with_digits += 1
        assert corrupted is not None
        assert corrupted != text
        assert len(corrupted) == len(text)
        assert re.sub("[0-9]", "#", corrupted) == re.sub("[0-9]", "#", text)
    assert with_digits > 1000


def test_a_corruption_of_one_digit_is_each_of_the_nine_others_alike() -> None:
    rng = np.random.default_rng(2)
    found = [corrupt_digits("is 7", rng) for _ in range(1800)]
    counts = {said: found.count(said) for said in found}
    assert set(counts) == {f"is {digit}" for digit in "012345689"}
    # 1800 / 9 = 200 each, +- 4 standard deviations, 4 * sqrt(200 * 8 / 9) = 53
    assert all(abs(count - 200) < 53 for count in counts.values())


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("1+6=7", True),
        ("1+6=8", False),
        ("2 + 3 * 4 = 14, so 14", True),
        ("12 / 0 = 3", False),
        ("8 - 2 - 1 = 5", True),
        ("1+1=2 and 2+2=5", False),
        ("I see 7", False),
    ],
)
def test_a_corruption_whose_equations_hold_is_still_true(text: str, true: bool) -> None:
    assert still_true(text, {}, {}) is true


def test_a_corruption_into_the_truth_is_seen() -> None:
    truth = {"current number": "3", "target number": "5"}
    assert still_true("", {"current number": "3", "target number": "5"}, truth)
    assert not still_true("", {"current number": "8", "target number": "5"}, truth)
    assert not still_true("3+4=7", {"current number": "8"}, truth)
