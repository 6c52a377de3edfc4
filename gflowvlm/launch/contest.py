"""The runs of a comparison: what each is told, and how far it has come."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gflowvlm.config.comparison import CompareConfig
from gflowvlm.config.document import Document
from gflowvlm.config.load import check, dump_json, load
from gflowvlm.config.schema import RunConfig
from gflowvlm.config.supervised import SupervisedFineTuning
from gflowvlm.errors import UserError
from gflowvlm.evaluation.comparison import RunFigures
from gflowvlm.evaluation.table import read_measured
from gflowvlm.files import write_json
from gflowvlm.launch.evaluate import EVALUATION_FILE
from gflowvlm.launch.exact import EXACT_FILE
from gflowvlm.trainer import checkpoint
from gflowvlm.trainer.spending import Spending

FREE = ("thought_weight", "gradient_checkpointing")
"""Settings of `policy` that do not change how the start plays."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One method with one seed."""

    label: str
    seed: int
    config: RunConfig
    comparison: CompareConfig

    @property
    def name(self) -> str:
        """Of its folder, its log and its recipe."""
        return f"{self.label}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """The run's own."""
        return self.config.run_dir

    @property
    def recipe(self) -> Path:
        """What `gflowvlm train` is given."""
        return self.comparison.folder / "recipes" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.comparison.folder / "logs" / f"{self.name}.log"

    @property
    def trained(self) -> bool:
        """Whether it has come to its last update."""
        return "after" in read_measured(self.folder / EVALUATION_FILE)

    @property
    def measured(self) -> bool:
        """Whether its figures are those that the comparison asks for, of the very same games."""
        asked, found = self.config.evaluation, read_measured(self.folder / EVALUATION_FILE)
        games = -(-asked.episodes // asked.samples_per_start) * asked.samples_per_start
        expected = {(split, games, asked.samples_per_start, self.seed) for split in asked.splits}
        return all(
            expected
            <= {(m.split, m.episodes, m.samples_per_start, m.seed) for m in found.get(when, ())}
            for when in (("before", "after") if asked.at_start else ("after",))
        )

    def exact_file(self, split: str) -> Path:
        """The exact figures of a split, or why there are none."""
        mass = self.comparison.min_mass
        how = "" if mass is None else f"-{mass:g}"
        return self.folder / f"exact-{split}{how}.json"

    @property
    def inexact(self) -> list[str]:
        """Splits whose exact figures are asked for and not there yet."""
        if not self.comparison.exact:
            return []
        return [s for s in self.comparison.splits if not self.exact_file(s).is_file()]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.measured and not self.inexact

    def training(self) -> list[str]:
        """Arguments of `gflowvlm` that begin the run or go on with it."""
        if checkpoint.latest_complete(self.folder) is not None:
            return ["train", str(self.recipe), "--resume"]
        shutil.rmtree(self.folder, ignore_errors=True)  # a start that reached no checkpoint
        return ["train", str(self.recipe)]

    def measuring(self) -> list[str]:
        """Arguments of `gflowvlm` that play the games anew, where it was measured by others."""
        asked = self.config.evaluation
        return [
            *("evaluate", str(self.folder), "--episodes", str(asked.episodes)),
            *("--samples-per-start", str(asked.samples_per_start), "--seed", str(self.seed)),
            *(part for split in asked.splits for part in ("--split", split)),
            *(["--start"] if asked.at_start else []),
        ]

    def reading(self, split: str) -> list[str]:
        """Arguments of `gflowvlm` that compute the exact figures of a split."""
        mass = self.comparison.min_mass
        command = ["evaluate", str(self.folder), "--exact", "--split", split]
        return command if mass is None else [*command, "--min-mass", f"{mass:g}"]

    def keep_exact(self, split: str, refusal: str | None) -> None:
        """Put the exact figures where the next split's do not replace them."""
        if refusal is None:
            figures = json.loads((self.folder / EXACT_FILE).read_text(encoding="utf-8"))[split]
        else:
            figures = {"refused": refusal}
        write_json(self.exact_file(split), figures)

    def figures(self, when: str = "after") -> RunFigures:
        """What the summary needs of a finished run; `before`: of what it started from."""
        measured = read_measured(self.folder / EVALUATION_FILE)[when]
        exact: dict[str, Mapping[str, Any]] = {}
        for split in self.comparison.splits if self.comparison.exact else ():
            plain = json.loads(self.exact_file(split).read_text(encoding="utf-8"))
            policy = "model" if when == "after" else "start model"
            law = plain.get("laws", plain).get(policy, {})  # without its whole law: two limits
            exact[split] = {**plain, **law}
        newest = checkpoint.latest_complete(self.folder)
        assert newest is not None, self.folder
        spent = Spending.read(checkpoint.read_state(newest)).as_state()["spent"]
        return RunFigures(
            seed=self.seed,
            folder=self.name,
            objective=self.config.objective.type,
            spent={**spent, "expert_games": self.config.expert_games},
            splits={m.split: m for m in measured},
            exact=exact,
        )


def plan(comparison: CompareConfig, recipes: Mapping[str, RunConfig]) -> list[Run]:
    """All runs, every method's first seed before any second one.

    Raises:
        UserError: the methods cannot be compared; the message names two of them and what differs.
    """
    require_fair(comparison, recipes)
    first = next(iter(recipes))
    return [
        Run(
            label=label,
            seed=seed,
            config=_settled(comparison, label, seed, recipe, at_start=label == first),
            comparison=comparison,
        )
        for seed in comparison.seeds
        for label, recipe in recipes.items()
    ]


def require_fair(comparison: CompareConfig, recipes: Mapping[str, RunConfig]) -> None:
    """Same start, same game, same way of replying, same target for all that have one."""
    (first, one), *others = recipes.items()
    if comparison.min_mass is not None and not comparison.exact:
        raise UserError(
            f"found min_mass = {comparison.min_mass:g} with exact: false, expected it where "
            "success is computed: set exact to true or leave min_mass out"
        )
    if comparison.exact and (one.policy.actions != "constrained" or one.policy.thought):
        raise UserError(
            f"found exact: true with policy.actions: {one.policy.actions} and policy.thought: "
            f"{json.dumps(one.policy.thought)}, expected constrained and false, as only such a "
            "policy's law can be computed: change the methods' recipes or leave exact out"
        )
    for label, other in others:
        _require_equal(first, label, _start_of(one), _start_of(other))
    aimed = [
        (n, r) for n, r in recipes.items() if not isinstance(r.objective, SupervisedFineTuning)
    ]
    for label, other in aimed[1:]:
        _require_equal(aimed[0][0], label, _target_of(aimed[0][1]), _target_of(other))


def _require_equal(first: str, label: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    for name in one:
        if one[name] != other[name]:
            raise UserError(
                f"methods {first} and {label}: found {name} = {json.dumps(one[name])} and "
                f"{json.dumps(other[name])}, expected the same for all methods, which are to "
                f"differ in how they learn alone: set methods.{label}.overrides {name} alike"
            )


def _start_of(config: RunConfig) -> dict[str, Any]:
    policy = config.policy.model_dump(mode="json", exclude=set(FREE))
    environment = config.environment.model_dump(mode="json")
    return {
        **{f"policy.{name}": value for name, value in policy.items()},
        **{f"environment.{name}": value for name, value in environment.items()},
    }


def _target_of(config: RunConfig) -> dict[str, Any]:
    return {
        "reward": config.reward.model_dump(mode="json"),
        "alpha": config.alpha,
        "beta.end": config.beta.end,
    }


def _settled(
    comparison: CompareConfig, label: str, seed: int, recipe: RunConfig, *, at_start: bool
) -> RunConfig:
    """A method's recipe with what the comparison decides for all."""
    trainer: dict[str, Any] = {"max_environment_steps": comparison.environment_steps}
    own_limit = "trainer.max_updates" in comparison.changed(label)
    if not own_limit and recipe.plays:
        # the fewest decisions that updates of such a size can play: the budget ends it before
        trainer["max_updates"] = -(-comparison.environment_steps // recipe.played)
    evaluation = {
        "splits": comparison.splits,
        "episodes": comparison.episodes,
        "samples_per_start": comparison.samples_per_start,
        "every": 0,
        "at_start": at_start,
        "at_end": True,
    }
    changes = {
        "name": f"{label}-seed{seed}",
        "seed": seed,
        "output": comparison.folder,
        "trainer": recipe.trainer.model_copy(update=trainer),
        "evaluation": recipe.evaluation.model_copy(update=evaluation),
    }
    settled = json.loads(dump_json(recipe.model_copy(update=changes)))
    return check(Document(f"{comparison.name}, {label}", settled))


def write_recipes(runs: Sequence[Run]) -> None:
    """Write what is not there yet.

    Raises:
        UserError: a run was begun with other settings; nothing is written then.
    """
    for run in runs:
        if run.recipe.is_file():
            before = json.loads(dump_json(load(run.recipe)))
            now = json.loads(dump_json(run.config))
            changed = next((n for n in now if before.get(n) != now[n]), None)
            if changed is not None:
                raise UserError(
                    f"{run.recipe}: found another {changed} than the comparison says now, expected "
                    "the settings that the run was begun with: change them back, pass another "
                    f"name=..., or delete {run.recipe} and {run.folder} to begin that run anew"
                )
    for run in runs:
        run.recipe.parent.mkdir(parents=True, exist_ok=True)
        run.recipe.write_text(dump_json(run.config) + "\n", encoding="utf-8")
