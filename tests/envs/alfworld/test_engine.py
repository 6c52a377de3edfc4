import json
import random
import re
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from gflowvlm_envs.alfworld.expressions import compiled


class Shipped:
    """The game as textworld and alfworld play it, nothing of ours in between."""

    def __init__(self, game: Path) -> None:
        import textworld  # pyright: ignore
        from alfworld.agents.environment.alfred_tw_env import (  # pyright: ignore
            AlfredDemangler,
        )
        from textworld.envs import PddlEnv  # pyright: ignore

        infos = textworld.EnvInfos(admissible_commands=True, won=True)
        self.env: Any = AlfredDemangler(PddlEnv(infos), shuffle=False)
        self.env.load(str(game))
        self.state = self.env.reset()

    def step(self, command: str) -> None:
        self.state, _, _ = self.env.step(command)


def commands(moves: Any) -> list[str]:
    return [move.command for move in moves]


def test_every_word_and_command_is_upstreams_in_a_fifth_of_the_time(games: list[Path]) -> None:
    from gflowvlm_envs.alfworld.engine import NOTHING, Engine

    engine, draw, ours, theirs = Engine(), random.Random(0), 0.0, 0.0
    for game in (games[0], games[-1]):
        shipped = Shipped(game)
        engine.load(game)
        assert engine.reset() == shipped.state["feedback"]
        walkthrough = json.loads(game.read_text())["walkthrough"]
        wander = [None] * 8 + ["dance on the table"] + walkthrough
        for wanted in wander:
            assert commands(engine.moves) == shipped.state["admissible_commands"]
            assert engine.won == shipped.state["won"]
            command = wanted or draw.choice(commands(engine.moves))
            before = process_time()
            text = engine.step(command)
            between = process_time()
            shipped.step(command)
            ours, theirs = ours + between - before, theirs + process_time() - between
            assert text == shipped.state["feedback"]
            if wanted == "dance on the table":
                assert text == NOTHING
    engine.close()
    assert ours < theirs / 5


def test_what_all_games_share_of_the_grammar_is_parsed_once(games: list[Path]) -> None:
    from gflowvlm_envs.alfworld.grammar import Context, Logic, _parsed_document

    _parsed_document.cache_clear()
    nothing = Context(state=None, entities={}, values={}, mapping={})
    found = [json.loads(game.read_text()) for game in games]
    domain, grammars = found[0]["pddl_domain"], [each["grammar"] for each in found]
    tasks = {Logic(domain, text).grammar.derive("#task#", nothing) for text in grammars}
    assert len(tasks) > 3
    assert all(task.startswith("Your task is to: ") for task in tasks)
    assert _parsed_document.cache_info().misses == 1
    two = re.sub(r'"task": *\[', '"task": [{"rhs": "Rest."},', grammars[0])
    assert Logic(domain, two).grammar.derive("#task#", nothing) == "Rest."


def test_facts_of_earlier_games_are_not_kept(games: list[Path]) -> None:
    from mementos.core import _memento_cache  # pyright: ignore

    from gflowvlm_envs.alfworld.engine import Engine

    engine, kept = Engine(), list[int]()
    _memento_cache.clear()  # of other tests' games
    for game in (*games, games[0]):
        engine.load(game)
        kept.append(len(_memento_cache))
    engine.close()
    assert kept[0] == kept[-1] > 0


def test_a_recorded_solution_wins_as_shipped(games: list[Path]) -> None:
    game = games[len(games) // 2]
    shipped = Shipped(game)
    for command in json.loads(game.read_text())["walkthrough"]:
        assert not shipped.state["won"]
        shipped.step(command)
    assert shipped.state["won"]


def test_upstreams_own_loader_finds_the_games(data: Path) -> None:
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv  # pyright: ignore

    split = data / "json_2.1.1" / "train"
    config = {
        "dataset": {"data_path": str(split), "num_train_games": -1, "num_eval_games": -1},
        "env": {"task_types": [1, 2, 3, 4, 5, 6], "goal_desc_human_anns_prob": 0},
    }
    assert AlfredTWEnv(config, train_eval="train").num_games == 6


def test_one_engine_plays_one_game_again_and_another(games: list[Path]) -> None:
    from gflowvlm_envs.alfworld.engine import Engine

    engine = Engine()
    engine.load(games[0])
    first, offered = engine.reset(), commands(engine.moves)
    engine.step(offered[0])
    assert (engine.reset(), commands(engine.moves)) == (first, offered)
    engine.load(games[1])
    assert engine.reset() != first
    engine.load(games[0])
    assert (engine.reset(), commands(engine.moves)) == (first, offered)
    engine.close()


def test_expressions_are_names_attributes_strings_plus_and_or() -> None:
    class Entity:
        name, indefinite, empty = "mug 1", "a", ""

    values = {"o": Entity()}
    assert compiled("o.indefinite + ' ' + o.name")(values) == "a mug 1"
    assert compiled("o.empty or o.name")(values) == "mug 1"
    assert compiled("o")(values) is values["o"]
    with pytest.raises(ValueError, match="found name 'r'"):
        compiled("r.name")(values)


@pytest.mark.parametrize(
    "code", ["f(1)", "o.__class__", "o[0]", "(lambda: o)()", "1 +", "o.a - 'b'"]
)
def test_other_expressions_are_refused(code: str) -> None:
    with pytest.raises(ValueError, match="do not play game files from a source"):
        compiled(code)


def test_a_game_file_cannot_run_code(games: list[Path], tmp_path: Path) -> None:
    from gflowvlm_envs.alfworld.engine import Engine

    data, trap = json.loads(games[0].read_text()), tmp_path / "trap"
    data["grammar"] = data["grammar"].replace(
        "You close the {r.name}.", f"{{open('{trap}', 'w').write(r.name)}}"
    )
    data["grammar"] = data["grammar"].replace(
        "Your task is to:", f"{{open('{trap}', 'w').write('x')}} Your task is to:"
    )
    engine = Engine()
    engine.load(data)
    with pytest.raises(ValueError, match="found code"):
        engine.reset()
    engine.close()
    assert not trap.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[:-200], "cut off or no JSON"),
        (lambda text: "[]", "found a game without pddl_domain, grammar, pddl_problem"),
        (lambda text: text.replace("pddl_problem", "problem"), "found a game without pddl_problem"),
        (lambda text: text.replace("(:init", "(:innit"), "the game cannot be read"),
        (lambda text: text.replace("grammar :: ", "grammar :"), "the game cannot be read"),
    ],
)
def test_a_spoilt_game_is_refused_in_one_line(
    games: list[Path], tmp_path: Path, spoil: Any, message: str
) -> None:
    from gflowvlm_envs.alfworld.engine import Engine

    game = tmp_path / "game.tw-pddl"
    game.write_text(spoil(games[0].read_text()))
    engine = Engine()
    with pytest.raises(ValueError, match=message) as caught:
        engine.load(game)
    assert "\n" not in str(caught.value)
    engine.close()
