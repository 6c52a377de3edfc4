import numpy as np
import pytest

from gflowvlm_envs import drawing


def dark_rows(image: np.ndarray) -> np.ndarray:
    """Indices of the rows that hold black ink."""
    return np.flatnonzero((image.max(axis=2) < 60).any(axis=1))


@pytest.mark.parametrize("number", ["0", "7", "12", "37", "100"])
def test_digits_are_at_least_14_pixels_high_on_a_picture_of_64(number: str) -> None:
    rows = [("target", number), ("current", number)]
    picture = drawing.pixels(drawing.labelled_numbers(rows, 64))
    for half in (picture[:32], picture[32:]):
        ink = dark_rows(half)
        assert ink[-1] - ink[0] + 1 >= 14


@pytest.mark.parametrize("size", [64, 224])
def test_a_picture_is_framed_by_white(size: int) -> None:
    picture = drawing.pixels(drawing.labelled_numbers([("target", "50"), ("current", "48")], size))
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture[:, 0].min() == picture[:, -1].min() == picture[-1].min() == 255


def test_text_fits_the_box_it_is_fitted_to() -> None:
    size = drawing.fitting_size("current", 40, 30)
    width, height = drawing.text_size("current", size)
    assert 38 <= width <= 42
    assert height <= 30


def test_cards_of_different_rank_or_suit_differ() -> None:
    ranks = ["A", *map(str, range(2, 11)), "J", "Q", "K"]
    cards = {drawing.card(rank, suit, 24, 36).tobytes() for rank in ranks for suit in drawing.SUITS}
    assert len(cards) == 52


@pytest.mark.parametrize(("suit", "red"), [("hearts", True), ("clubs", False)])
def test_hearts_are_red_and_clubs_are_black(suit: str, red: bool) -> None:
    card = drawing.pixels(drawing.card("K", suit, 32, 48)).astype(int)
    reddish = (card[..., 0] - card[..., 1] > 100).sum()
    assert (reddish > 100) == red


def test_an_unknown_suit_is_refused() -> None:
    with pytest.raises(ValueError, match="found suit 'stars'"):
        drawing.card("A", "stars", 32, 48)
    with pytest.raises(ValueError, match="4 x 4 pixels"):
        drawing.card("A", "clubs", 4, 4)
