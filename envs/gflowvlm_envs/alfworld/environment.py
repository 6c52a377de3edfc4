"""ALFWorld as a Gymnasium environment that shows, says and offers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gflowvlm_envs import drawing
from gflowvlm_envs.alfworld import picture
from gflowvlm_envs.alfworld.base import WIN, HouseholdGame, introduced
from gflowvlm_envs.alfworld.expert import Intention, Planner
from gflowvlm_envs.alfworld.games import require_packages
from gflowvlm_envs.alfworld.memory import Memory
from gflowvlm_envs.alfworld.move import Move
from gflowvlm_envs.alfworld.notes import MIDDLE, notes
from gflowvlm_envs.alfworld.search import search
from gflowvlm_envs.alfworld.world import (
    Goal,
    House,
    Situation,
    goal_of,
    house_of,
    situation_of,
    subgoals,
)
from gflowvlm_envs.contract import ExpertMove, StepInfo, with_mistakes

EXPERTS = ("oracle", "searcher")


class ALFWorld(HouseholdGame):
    """Do a household task in a room that shows itself bit by bit.

    ## Description
    The games of ALFWorld (Shridhar et al. 2021): find an object, perhaps clean, heat or cool it,
    and put it somewhere; put two of a kind together; or look at one under a lamp. What is inside
    a receptacle is known only to those who have gone there and opened it. The packages `alfworld`
    and `textworld` play the games; pictures are schematic, no 3D view is drawn.

    ## Action Space
    `Discrete(256)`, an index into `info["legal_actions"]`: the admissible commands, in alphabetical
    order, as the game words them. An index beyond their number counts from their first again.

    ## Observation Space
    `Box(0, 255, (image_size, image_size, 3), uint8)`: a schematic view of what the engine has told
    so far. `info["text"]` is what the engine says at this step; at the start without its greeting
    and the task, which `info["task"]` holds. `info["facts"]` holds `place`, `holding`
    and `looking for`, as the engine has told them. The last is the kind that is looked for and what
    of it is known to be where the player stands (`a mug: mug 2`, `a mug: nothing`); once the goal's
    object is held it is about the goal's lamp, or `nothing`. With `notes`, which tell the others,
    it is the only fact, and of all that is known (`a mug: mug 2 at shelf 1`).
    `info["progress"]` is the share of the goal's conditions that hold, `info["task_type"]` one of
    ALFWorld's six.

    ## Rewards
    +50 for the step that wins, and +1 for each condition of the goal that comes to hold, -1 for
    each that ceases to. Conditions are counted as in ALFRED, see `world.subgoals`.

    ## Starting State
    A game of the split, drawn uniformly; `reset(options={"game": path})` plays one file. Nothing
    in a game is left to chance.

    ## Episode End
    Terminates when the goal is reached (success), or after `limit` steps (failure). Never
    truncates.

    ## Arguments
    - `split`: `train`, `eval_in_distribution` or `eval_out_of_distribution`; the first.
    - `data`: folder that holds `json_2.1.1`; `$ALFWORLD_DATA`, else `~/.cache/alfworld`, when None.
    - `task_types`: some of ALFWorld's six, by name; all when None.
    - `limit`: steps allowed; 50.
    - `expert`: `oracle`, which knows where everything is, or `searcher`, which knows what has been
      told and looks for the rest; `oracle`.
    - `image_size`: side of the image in pixels, at least 64; 336.
    - `render_mode`: None or `rgb_array`.
    - `reminder`: whether the text of every step ends with the task, for players who forget; False.
    - `notes`: whether every text ends with notes of what has been told: where the player is, what
      it carries, where known things of use are, the likeliest places not yet looked into; False.

    `splits` names the three splits. `generated` says whether the games were generated: results on
    such games are not results on ALFWorld's own.

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        split: str = "train",
        data: str | Path | None = None,
        task_types: Sequence[str] | None = None,
        limit: int = 50,
        expert: str = "oracle",
        image_size: int = 336,
        render_mode: str | None = None,
        reminder: bool = False,
        notes: bool = False,
    ) -> None:
        """See the class for the arguments."""
        if expert not in EXPERTS:
            raise ValueError(
                f"found expert {expert!r}, expected one of {', '.join(EXPERTS)}: change it"
            )
        require_packages()
        super().__init__(split, data, task_types, limit, image_size, render_mode)
        self.expert_kind, self.reminder, self.notes = expert, reminder, notes
        self._engine: Any = None  # gflowvlm_envs.alfworld.engine.Engine

    @property
    def generated(self) -> bool:
        """Whether the games were generated, so that results are not ALFWorld's."""
        return self.games.generated

    @property
    def goal(self) -> Goal:
        """Task type, object and place of the game in progress."""
        assert self.game
        return self._goal

    # -- dynamics -----------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Draw a game, or take the one in `options["game"]`.

        Raises:
            ValueError: the file is no game that can be played.
        """
        super().reset(seed=seed)
        self._load(self._chosen(options))
        self._words = self._engine.reset()
        self._task, self._text = introduced(self._words, self.limit)
        self._house = self._house.as_told(self._text)
        self._memory = Memory(house=self._house)
        self._steps, self._ended = 0, False
        self._look()
        self._note()
        return self._draw(), self._info()

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Do one thing; `truncated` is always False."""
        self._require_action(action)
        move: Move = self._engine.moves[int(action) % len(self._commands)]
        before = self._subgoals[0]
        self._text = self._engine.step(move.command)
        if self.reminder:
            self._text += f" {self._task.partition(' You have ')[0]}"
        self._steps += 1
        self._look()
        self._memory.learn(move, self._now)
        self._note()
        won = self._engine.won
        self._ended = won or self._steps >= self.limit
        reward = WIN * won + self._subgoals[0] - before
        return self._draw(), float(reward), self._ended, False, self._info()

    def expert(self, mistakes: float) -> ExpertMove:
        """The next move to the goal; a mistake is made in what is thought of next."""
        assert self.game
        moves: Sequence[Move] = self._engine.moves
        intention = self._intention()
        best = None if intention is None else intention.chosen(moves)
        if intention is None or best is None:
            raise ValueError(
                f"{self._game}: the expert knows no way to the goal; it plays games that can be won"
            )
        action = with_mistakes(best, self._commands, mistakes, self.np_random)
        thought = intention.reason if action == best else "look around"
        return ExpertMove(thought, action)

    def close(self) -> None:
        """Give the engine's library back."""
        if self._engine is not None:
            self._engine.close()
            self._engine = self._game = None

    def _load(self, game: Path) -> None:
        """Have the engine hold a game; a game that it holds already is not read again."""
        if self._engine is None:
            from gflowvlm_envs.alfworld.engine import Engine

            self._engine = Engine()
        if game == self._game:
            return
        self._game = None
        self._engine.load(game)
        self._house: House = house_of(self._engine.facts, self._engine.names)
        try:
            self._goal = goal_of(self._engine.problem)
        except ValueError as error:
            raise ValueError(f"{game}: {error}") from error
        self._game = game

    def _look(self) -> None:
        """What is so now."""
        self._now: Situation = situation_of(self._engine.facts)
        self._commands = tuple(move.command for move in self._engine.moves)
        self._subgoals = subgoals(self._goal, self._house, self._now)

    def _note(self) -> None:
        """Plan on what has been told; end the text with that, where notes are kept."""
        now = self._memory.belief(self._now.at)
        self._told = Planner(goal=self._goal, house=self._house, now=now)
        if self.notes:
            self._text += f" {notes(self._memory, self._told)}"

    def _intention(self) -> Intention | None:
        if self.expert_kind == "oracle":
            return Planner(goal=self._goal, house=self._house, now=self._now).next()
        told = self._told
        return told.next() or search(told.sought(), self._memory, told.now, self.np_random)

    def _facts(self) -> dict[str, str]:
        names, memory, told = self._house.names, self._memory, self._told
        inside, kind, wanted = told.now.inside, told.sought(), told.wanted()
        if self.notes:
            known = [f"{names[thing]} at {names[inside[thing]]}" for thing in wanted]
            return {"looking for": _known(kind, known)}
        here = [names[thing] for thing in wanted if inside[thing] == memory.here]
        return {
            "place": names[memory.here] if memory.here else MIDDLE,
            "holding": names[memory.held] if memory.held else "nothing",
            "looking for": _known(kind, here),
        }

    def _info(self) -> dict[str, Any]:
        info: StepInfo = {
            "task": self._task,
            "legal_actions": self._commands,
            "facts": self._facts(),
            "text": self._text,
            "success": self._engine.won,
            "extra_steps": 0,
            "progress": self._subgoals[0] / self._subgoals[1],
            "task_type": self._goal.task,
        }
        return dict(info)

    # -- drawing ------------------------------------------------------------------------------

    def _draw(self) -> NDArray[np.uint8]:
        return drawing.pixels(picture.draw(picture.view_of(self._memory), self.image_size))


def _known(kind: str, things: Sequence[str]) -> str:
    """The kind that is looked for and the first of what is known of it."""
    return f"a {kind}: {things[0] if things else 'nothing'}" if kind else "nothing"
