"""Several methods over several seeds from one start, on one budget."""

import re
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from gflowvlm.config.schema import RunConfig
from gflowvlm.config.section import Section
from gflowvlm.config.settings import leaves_of

RESERVED = ("all", "start")


class MethodConfig(Section):
    """What makes a method: a recipe, and how it differs from that."""

    recipe: Path | None = Field(default=None, validate_default=False)
    """A recipe of its own, found as the base is; null takes the base."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Settings, such as `objective: {type: var_tb}` or `trainer.group_size: 4`. A section that is
    chosen by its type replaces the recipe's as a whole, of others only what is named changes.
    `trainer.max_updates` among them is a second limit beside the budget; without it a method that
    plays goes on until the budget is used up."""


class CompareConfig(Section):
    """Methods x seeds from one start checkpoint with equally many environment steps."""

    name: str | None = None
    """Folder of the comparison inside `output`; a file without one lends its own name."""
    output: Path = Field(default=Path("runs"), validate_default=False)  # strict JSON knows no Path
    """Folder that holds runs and comparisons."""
    base: Path | None = Field(default=None, validate_default=False)
    """Recipe of the methods that name none of their own; a path is tried from here, then from the
    file's folder."""
    methods: dict[str, MethodConfig] = Field(min_length=1)
    """Label -> what makes it this method."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Settings for all methods, before a method's own."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """Seeds of the runs of every method; three are the fewest for naming a winner."""
    environment_steps: int = Field(ge=1)
    """Decisions that each run's policy may take in training; see `trainer.max_environment_steps`.
    What learns from others' replies (sft, spin, dpo but on the policy's own successes) takes none
    and ends by its own `trainer.max_updates`."""
    splits: tuple[str, ...] = Field(default=("id",), min_length=1)
    """Splits that every run is measured on."""
    episodes: int = Field(default=200, ge=1)
    """Games per split and run, on starts that are a function of the seed alone."""
    samples_per_start: int = Field(default=4, ge=1)
    """Games from each start; the N of Div@N and the largest k of pass@k."""
    jobs: int | None = Field(default=None, ge=1)
    """Runs at the same time; null for one a core, or a single one where runs use a GPU."""
    exact: bool = False
    """Whether the distance to the exact law is computed too; needs constrained actions and no
    thought. A split too large for it is named in the summary."""
    min_mass: float | None = Field(default=None, gt=0, lt=1)
    """With `exact`, for games too large to unfold: instead of the law success is computed, through
    histories at least this likely, between two limits; their middle is compared."""

    @field_validator("methods")
    @classmethod
    def _labels_are_folders(cls, methods: dict[str, MethodConfig]) -> dict[str, MethodConfig]:
        for label in methods:
            if not re.fullmatch(r"\w[\w.-]*", label, re.ASCII) or label in RESERVED:
                raise ValueError(
                    f'found "{label}" as a method\'s label, expected letters, digits, "_", "-", '
                    f'"." and none of {", ".join(RESERVED)}: rename it'
                )
        return methods

    @field_validator("seeds")
    @classmethod
    def _no_seed_twice(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError(f"found seeds {list(seeds)}, expected each once and none below 0")
        return seeds

    @model_validator(mode="after")
    def _every_method_has_a_recipe(self) -> "CompareConfig":
        bare = next((n for n, method in self.methods.items() if method.recipe is None), None)
        if self.base is None and bare is not None:
            raise ValueError(
                f"found no base, and method {bare} without a recipe of its own: name the methods' "
                f"recipe as base or set methods.{bare}.recipe"
            )
        return self

    def recipe_of(self, label: str) -> Path:
        """The recipe that a method's settings are laid over."""
        recipe = self.methods[label].recipe or self.base
        assert recipe is not None, "the validator has seen to it"
        return recipe

    @property
    def folder(self) -> Path:
        """Where all runs and the summary go, `output/name`."""
        assert self.name is not None, "load_comparison() names every comparison"
        return self.output / self.name

    def changed(self, label: str) -> dict[str, tuple[Any, str]]:
        """Dotted path of each setting that a method overrides -> (value, where that is said)."""
        found = {}
        for place, overrides in (
            ("overrides", self.overrides),
            (f"methods.{label}.overrides", self.methods[label].overrides),
        ):
            for name, value in overrides.items():
                for path, leaf in leaves_of(RunConfig, name, value):
                    found.pop(path, None)  # applied in the order given, the method's own last
                    found[path] = leaf, f"{place}.{name}"
        return found
