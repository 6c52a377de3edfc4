"""The page as text: what it says, what it refuses, what it can be sent without."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gflowvlm.errors import UserError
from gflowvlm.report.charts import learning_curves
from gflowvlm.report.figures import Series, curves
from gflowvlm.report.page import render, write_page
from gflowvlm.report.recording import Pictures, Recording
from gflowvlm.report.sources import Subject, read_subject

MakeRun = Callable[..., Path]
CAPTIONS = ("id", "id, by task type")
MEAN = ("mean over games", "48")


def subject_of(folder: Path) -> Subject:
    """With the games that are kept."""
    subject = read_subject(folder)
    firsts = {run.method: run for run in reversed(subject.runs)}
    kept = {name: Recording.read(run.folder) for name, run in firsts.items()}
    return replace(subject, recordings={name: each for name, each in kept.items() if each})


class Tags(HTMLParser):
    """Every tag with its attributes, and what each script holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_page_needs_nothing_but_itself(tmp_path: Path, make_run: MakeRun) -> None:
    tags = Tags(render(subject_of(make_run(tmp_path / "run")))).found
    links = [v for _, attrs in tags for n, v in attrs.items() if n in ("src", "href")]
    assert links
    assert [link for link in links if not str(link).startswith(("#", "data:"))] == []
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))  # of the page and of its plots together


def test_what_a_model_says_ends_no_script_and_opens_no_tag(
    tmp_path: Path, make_run: MakeRun
) -> None:
    page = render(subject_of(make_run(tmp_path / "run")))
    assert page.count("</script>") == 2  # the games' and the page's own
    tags = Tags(page).found
    assert [tag for tag, attrs in tags if tag == "img" or "onerror" in attrs] == []
    games = json.loads(page.split('id="games">')[1].split("</script>")[0])
    assert games["games"][0]["steps"][0]["thought"].startswith("</script><img")


def test_scores_stand_beside_chance_and_optimum(tmp_path: Path, make_run: MakeRun) -> None:
    page = re.sub(r"\s+", " ", render(subject_of(make_run(tmp_path / "run"))))
    row = page.split('<th scope="row">reach</th>')[1].split("</tr>")[0]
    cells = re.findall(r"<td[^>]*>([^<]*)", row)
    assert [cell.strip() for cell in cells[:5]] == ["40.0%", "95.0%", "59.8%", "-", "100.0%"]
    assert "85.0\u2013100.0%" in row


def test_who_has_played_stands_there_with_intervals_and_each_kind_of_task_by_itself(
    tmp_path: Path, make_run: MakeRun
) -> None:
    def share(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    folder = make_run(tmp_path / "run")
    kinds = {"heat": {"games": 30, "reach": share(0.7)}, "look": {"games": 18, "reach": share(0.2)}}
    played = {"games": 48, "reach": share(0.1), "strict": share(0.1), "cut": 0, "length": 9.0}
    chance = {**played, "by_type": kinds, "macro_reach": 0.45}
    file = folder / "evaluation.json"
    measured = json.loads(file.read_text())["after"][0]
    measured.update(chance=None, optimum=None, references={"chance": chance})
    measured.update(by_type=kinds, macro_reach=0.45)
    file.write_text(json.dumps({"after": [measured]}))
    page = re.sub(r"\s+", " ", render(subject_of(folder)))
    scores, types = (page.split(f'<table aria-label="{name}"')[1] for name in CAPTIONS)
    assert re.findall(r'<th scope="col">([^<]*)', scores.split("</thead>")[0])[1:] == [
        "chance, played"
    ]
    assert "10.0% <small>5.0\u201315.0%" in scores.split("</table>")[0]
    # the mean of kinds' shares that are sure to 0.05 each: 0.05 sqrt(2) / 2 = 0.0354
    means = types.split("mean over types</th>")[1].split("</tr>")[0]
    assert means.count("45.0% <small>41.5\u201348.5%") == 2
    rows = re.findall(r'<th scope="row">([^<]*)</th> <td>([^< ]*)', types.split("</table>")[0])
    assert rows == [("heat", "30"), ("look", "18"), ("mean over types", ""), MEAN]
    assert "45.0%" in types
    assert 'class="mark chance"' in page
    assert 'class="mark optimum"' not in page


def test_a_torn_line_and_a_loss_that_is_no_number_leave_the_page_whole(
    tmp_path: Path, make_run: MakeRun
) -> None:
    run = make_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "lo')
    assert "40 of 60" in render(subject_of(run))


def test_a_run_that_has_only_begun_is_a_page_of_empty_places(
    tmp_path: Path, make_run: MakeRun
) -> None:
    subject = read_subject(make_run(tmp_path / "run", updates=0))
    page = render(subject)
    assert page.count('<p class="empty">') == 5  # scores, curves, diversity, calibration, games
    with pytest.raises(UserError, match="found no figures yet"):
        subject.require_figures()


def test_a_comparison_shows_methods_with_their_intervals_and_the_winner(
    tmp_path: Path, make_comparison: Callable[[Path], Path]
) -> None:
    page = re.sub(r"\s+", " ", render(subject_of(make_comparison(tmp_path / "tiny"))))
    assert "Ahead of every other method beyond noise, bold in the tables:</p>" in page
    best = re.findall(r'<td class="best">([^<]*) <small>([^<]*)', page)
    assert best == [("90.0%", "85.0\u201395.0%")]  # on id alone: elsewhere nobody is ahead
    assert "id, reach: subtb is ahead of ppo by 10.0 points" in page
    for name in ("subtb-seed0", "subtb-seed1", "ppo-seed0", "ppo-seed1"):
        assert f"<summary>{name}</summary>" in page


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("evaluation.json", "{", "evaluation.json: found something else"),
        ("evaluation.json", "[]", "evaluation.json: found something else"),
        ("exact.json", "[", "exact.json: found something else"),
        ("exact.json", '{"id": {}}', "exact.json: found something else"),
        ("metrics.jsonl", "[1]", "metrics.jsonl: found a line that is no update's"),
        ("metrics.jsonl", '{"loss": 1.0}', "metrics.jsonl: found a line that is no update's"),
        ("report_episodes.json", '{"episodes": 3}', "delete the file, it is made anew"),
        ("report_episodes.json", "[]", "delete the file, it is made anew"),
        ("comparison.json", "{}", "found no comparison that this version can read"),
    ],
)
def test_a_broken_file_is_named(
    file: str, text: str, message: str, tmp_path: Path, make_run: MakeRun
) -> None:
    run = make_run(tmp_path / "run")
    (run / file).write_text(text)
    with pytest.raises(UserError, match=message):
        subject_of(run)


def test_a_page_replaces_the_old_one_as_a_whole(tmp_path: Path, make_run: MakeRun) -> None:
    subject = subject_of(make_run(tmp_path / "run"))
    path = tmp_path / "new" / "report.html"
    page = write_page(subject, path, reload_every=5)
    assert 'data-reload="5"' in path.read_text()
    write_page(subject, path)
    assert "data-reload=" not in path.read_text().split("<script>")[0]
    assert page.size > 50_000
    assert (page.episodes, page.pictures) == (8, 4)
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_games_are_read_as_they_were_kept(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / "run")
    kept = Recording.read(run)
    assert kept is not None
    assert kept.episodes[3].steps[2].residual == 1.0
    before = (run / "report_episodes.json").read_bytes()
    kept.write(run)
    assert (run / "report_episodes.json").read_bytes() == before


def test_games_kept_before_they_said_their_kind_of_task_are_read(
    tmp_path: Path, make_run: MakeRun
) -> None:
    run = make_run(tmp_path / "run")
    file = run / "report_episodes.json"
    values = json.loads(file.read_text())
    for each in values["episodes"]:
        del each["task_type"]
    file.write_text(json.dumps(values))
    kept = Recording.read(run)
    assert kept is not None
    assert {each.task_type for each in kept.episodes} == {None}


def test_no_winner_is_named_where_there_are_too_few_seeds(
    tmp_path: Path, make_comparison: Callable[[Path], Path]
) -> None:
    folder = make_comparison(tmp_path / "tiny")
    plain = json.loads((folder / "comparison.json").read_text())
    plain["best"]["id"]["reach"] = None
    (folder / "comparison.json").write_text(json.dumps(plain))
    page = render(subject_of(folder))
    assert '<p class="outcome">No winner is named below 3 seeds.</p>' in page
    assert "<summary>1 figure without a winner</summary>" in page
    plain["verdicts"] = []
    (folder / "comparison.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match="found no comparison that this version can read"):
        subject_of(folder)


def test_a_method_that_plays_nothing_has_no_curve_over_environment_steps(
    tmp_path: Path, make_comparison: Callable[[Path], Path]
) -> None:
    folder = make_comparison(tmp_path / "tiny")
    for seed in (0, 1):
        file = folder / f"ppo-seed{seed}" / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        still = [json.dumps({**line, "environment_steps": 0}) for line in lines]
        file.write_text("\n".join(still) + "\n")
    curves = learning_curves(read_subject(folder))
    assert {figure.series for figure in curves.main} == {()}  # subtb alone needs no key
    assert all("at the end: subtb" in figure.summary for figure in curves.main)


def test_equal_pictures_are_kept_once_and_exactly() -> None:
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    colourful = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    plain = np.zeros((40, 40, 3), np.uint8)
    pictures = Pictures()
    names = [pictures.name_of(each) for each in (colourful, plain, colourful.copy())]
    assert names[0] == names[2] != names[1]
    for name, image in zip(names, (colourful, plain), strict=False):
        with Image.open(BytesIO(b64decode(pictures.known[name]))) as png:
            assert np.array_equal(np.asarray(png.convert("RGB")), image)


def test_a_plot_takes_the_page_s_colours_and_stays_small_however_long_the_run() -> None:
    def drawn(count: int) -> str:
        x = np.arange(count, dtype=float)
        noise = np.random.default_rng(0).normal(size=count)
        return curves("Loss", "", [Series(name="loss", colour=3, x=x, y=noise)]).svg

    long = drawn(50_000)
    assert "var(--s3)" in long
    assert "var(--muted)" in long
    assert re.findall(r"#0[1-4]0[1-4]0\w", long) == []
    assert len(long) < 3 * len(drawn(100))
