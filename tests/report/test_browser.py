"""The page in a real browser: opens, filters, steps, keeps its place, complains of nothing."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from gflowvlm.evaluation.comparison import figures_for
from gflowvlm.report.page import write_page
from gflowvlm.report.recording import Recording
from gflowvlm.report.sources import read_subject

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium)


@pytest.fixture
def show(tmp_path: Path, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a subject's page; fails at last if the browser had anything to complain of."""
    complaints: list[str] = []
    contexts = []

    def open_page(
        folder: Path, *, at: str = "", reload_every: float | None = None, width: int = 1280
    ) -> Page:
        subject = read_subject(folder)
        firsts = {run.method: run.folder for run in reversed(subject.runs)}
        kept = {name: Recording.read(run) for name, run in firsts.items()}
        games = {name: each for name, each in kept.items() if each}
        path = tmp_path / "report.html"
        write_page(replace(subject, recordings=games), path, reload_every=reload_every)
        context = browser.new_context(viewport={"width": width, "height": 844})
        context.set_default_timeout(60_000)  # a busy machine
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: complaints.extend(_remote(asked.url)))
        page.goto(f"file://{path}{at}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _remote(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:")) else [url]


def listed(page: Page) -> list[str]:
    return page.locator("#list li").all_inner_texts()


def step(page: Page) -> str:
    return page.locator(".steer output").inner_text()


def test_filters_narrow_the_list_and_say_so(
    show: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    page = show(make_run(tmp_path / "run"))
    assert len(listed(page)) == 8
    page.get_by_label("Split").select_option("ood")
    page.get_by_label("Outcome").select_option("goal reached")
    page.get_by_label("at least").fill("2")
    assert len(listed(page)) == 1  # of four ood games two are won, one of them in three steps
    assert "3 steps" in listed(page)[0]
    assert page.locator("#found").inner_text() == "1 of 8 episodes"
    page.get_by_label("at least").fill("9")
    assert page.get_by_text("No episode fits these filters.").is_visible()
    page.get_by_role("button", name="Clear").click()
    assert len(listed(page)) == 8
    page.get_by_label("one of each solution").check()
    assert len(listed(page)) == 4  # the won ones, whose solutions differ


def test_a_kind_of_task_can_be_chosen_where_games_have_one(
    show: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run")
    assert show(folder).locator("#filter-type").is_hidden()  # NumberLine has no kinds
    kept = Recording.read(folder)
    assert kept is not None
    kinds = ("look_at_obj_in_light", "pick_clean_then_place_in_recep", None, "look_at_obj_in_light")
    episodes = tuple(replace(e, task_type=kinds[n % 4]) for n, e in enumerate(kept.episodes))
    replace(kept, episodes=episodes).write(folder)
    page = show(folder)
    assert page.locator("#filter-type option").all_inner_texts() == ["all", *kinds[:2]]
    assert page.locator("#viewer .kind").inner_text() == kinds[0]
    assert page.locator("#list .kind").count() == 6
    page.get_by_label("Task type").select_option(kinds[1])
    assert len(listed(page)) == 2
    assert all(str(kinds[1]) in text for text in listed(page))
    assert "type=pick_clean" in page.evaluate("location.hash")
    page.get_by_role("button", name="Clear").click()
    assert len(listed(page)) == 8


def test_arrow_keys_step_through_a_game_and_from_game_to_game(
    show: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    page = show(make_run(tmp_path / "run"))
    page.get_by_role("listbox", name="Episodes").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#list [aria-selected=true]").get_attribute("id") == "game-2"
    assert step(page) == "step 2 of 3"
    assert "(wrong: 9)" in page.locator(".words").inner_text()
    assert page.locator(".sheet tr.now td").last.inner_text() == "0.50"
    assert "75.0%" in page.locator(".choices").inner_text()
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")  # the last step stays the last
    assert step(page) == "step 3 of 3"
    page.get_by_role("button", name="back").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # focus has stayed on the button
    assert step(page) == "step 1 of 3"
    assert page.locator("#viewer img").evaluate("image => image.naturalWidth") == 8


def test_the_address_brings_back_what_was_seen(
    show: Callable[..., Page], make_comparison: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = make_comparison(tmp_path / "tiny")
    page = show(folder, reload_every=3)
    with page.expect_event("load"):  # the page watches: what follows fits between two loads
        pass
    page.get_by_label("Method").select_option("ppo")
    page.get_by_role("listbox", name="Episodes").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    with page.expect_event("load"):
        pass
    assert step(page) == "step 2 of 2"
    again = show(folder, at=page.evaluate("location.hash"))
    assert step(again) == "step 2 of 2"
    assert len(listed(again)) == 8
    assert all(text.startswith("\u2713\nppo") or "ppo, " in text for text in listed(again))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen_and_every_control_has_a_name(
    width: int, show: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    page = show(make_run(tmp_path / "run"), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    nameless = page.evaluate(
        """[...document.querySelectorAll("select, input, button, [tabindex]")]
           .filter((node) => !(node.labels?.length || node.ariaLabel || node.textContent.trim()))
           .map((node) => node.outerHTML)"""
    )
    assert nameless == []


def test_a_comparison_of_many_figures_fits_a_laptop_s_screen(
    show: Callable[..., Page], make_comparison: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = make_comparison(tmp_path / "tiny")
    plain = json.loads((folder / "comparison.json").read_text())
    figures = [figure.name for figure in figures_for(64, gap=0.0036)]
    plain["figures"] = {figure.name: figure.as_dict() for figure in figures_for(64, gap=0.0036)}
    whole = {name: {"value": 1.0, "low": 1.0, "high": 1.0, "runs": 2} for name in figures}
    plain["methods"]["rejection_sft"] = plain["methods"].pop("subtb")
    for method in plain["methods"].values():
        method["aggregate"] = {"id": whole}
    (folder / "comparison.json").write_text(json.dumps(plain))
    page = show(folder)
    table = page.get_by_role("table", name="id")
    assert table.locator("thead th").count() == len(figures) == 11
    wide = "[...document.querySelectorAll('.wide')].filter((n) => n.scrollWidth > n.clientWidth)"
    assert page.evaluate(f"{wide}.length") == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_dozens_of_commands_can_all_be_read(
    width: int, show: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run")
    kept = Recording.read(folder)
    assert kept is not None
    words = [f"move butterknife {number} to countertop {number}" for number in range(34)]
    choices = tuple((word, 1 / 34) for word in words)
    episodes = tuple(
        replace(e, steps=tuple(replace(s, choices=choices, action=words[20]) for s in e.steps))
        for e in kept.episodes
    )
    replace(kept, episodes=episodes).write(folder)
    page = show(folder, at="#episode=3", width=width)
    shown = page.locator(".choices .word:visible")
    assert shown.count() == 9  # eight, and the one that was taken
    page.get_by_text("25 others, 73.5%").click()
    assert shown.count() == 34
    page.get_by_role("button", name="next").click()
    assert step(page) == "step 2 of 4"
    assert shown.count() == 34  # still unfolded
    assert sorted(text.removesuffix(" \u25c2") for text in shown.all_inner_texts()) == sorted(words)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert min(box["height"] for box in map(Locator.bounding_box, shown.all()) if box) > 12
    bars = page.locator(".choices .fill:visible")
    assert min(box["width"] for box in map(Locator.bounding_box, bars.all()) if box) > 2
    assert ", " in listed(page)[0]  # words with blanks in them are told apart


def test_what_a_model_says_is_shown_as_text(
    show: Callable[..., Page], make_run: Callable[..., Path], tmp_path: Path
) -> None:
    page = show(make_run(tmp_path / "run"))
    assert "onerror=" in page.locator(".words").inner_text()
    assert page.title() == "run - gflowvlm report"
    assert page.locator("img").count() == 1
