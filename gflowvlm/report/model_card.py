"""The README.md of an exported model: what it is, how it was made, what it was measured to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData, hf_hub_download, metadata_load

from gflowvlm import __version__
from gflowvlm.config.reinforcement import ReinforcementConfig
from gflowvlm.config.schema import RunConfig
from gflowvlm.evaluation.measure import Measurement
from gflowvlm.evaluation.share import Share
from gflowvlm.evaluation.table import beside, head_of

OBSERVATION_FILE = "observation.png"
UNKNOWN_LICENCE = "unknown"  # the Hub's own word for it

_LICENCE_KEYS = ("license", "license_name", "license_link")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What the card says beyond the run's configuration."""

    name: str  # folder of the exported model
    base: str | Path  # folder or hub id that the weights began as
    licence: Mapping[str, str]  # what `licence_of` found for it
    updates: int  # of the checkpoint that was merged
    prompt: str  # first message of a game, as the policy was trained on it
    gap: float  # nats, merged weights against base and adapter
    measured: Mapping[str, Sequence[Measurement]]  # "before", "after" -> one per split


def model_card(config: RunConfig, exported: Exported) -> str:
    """The whole text, YAML header first."""
    parts = [
        f"---\n{_header(config, exported).to_yaml()}\n---",
        f"# {exported.name}",
        _what(config, exported),
        _how_to_load(config, exported),
        _training(config),
        _results(exported),
        _limits(config, exported),
        _licence(exported.licence),
    ]
    return "\n\n".join(parts) + "\n"


def licence_of(base: str | Path) -> dict[str, str]:
    """The licence fields of the base model's own card; `unknown` where it names none.

    A card that is not in the base's folder is looked up in the Hub's cache, then on the Hub.
    """
    try:
        local = Path(base).is_dir()
        card = Path(base) / "README.md" if local else hf_hub_download(str(base), "README.md")
        header = metadata_load(card) or {}
    except (OSError, yaml.YAMLError):  # no network, no such file, a header that is no YAML
        header = {}
    found = {name: header[name] for name in _LICENCE_KEYS if isinstance(header.get(name), str)}
    return found if "license" in found else {"license": UNKNOWN_LICENCE}


def _header(config: RunConfig, exported: Exported) -> ModelCardData:
    base = str(exported.base)
    on_hub = not Path(base).is_dir()
    results = _eval_results(config, exported.measured.get("after", ()))
    return ModelCardData(
        model_name=exported.name if results else None,
        base_model=base if on_hub else None,
        base_model_relation="finetune" if on_hub else None,
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=["gflowvlm", "gflownet", "agent", "lora", config.objective.type],
        eval_results=results or None,
        license=exported.licence["license"],
        license_name=exported.licence.get("license_name"),
        license_link=exported.licence.get("license_link"),
    )


def _eval_results(config: RunConfig, measured: Sequence[Measurement]) -> list[EvalResult]:
    """The Hub's model-index: reach and strict of every split."""
    return [
        EvalResult(
            task_type="reinforcement-learning",
            dataset_type=config.environment.id,
            dataset_name=f"{config.environment.id} ({result.split})",
            dataset_split=result.split,
            metric_type=name,
            metric_name=f"{name}, share of {result.episodes} games",
            metric_value=round(getattr(result, name).value, 4),
        )
        for result in measured
        for name in ("reach", "strict")
    ]


def _what(config: RunConfig, exported: Exported) -> str:
    return (
        f"A vision-language agent for `{config.environment.id}`: `{_public(config.policy.model)}` "
        f"with the LoRA adapter of a gflowvlm run, after {exported.updates} updates, merged into "
        "its weights. It is an ordinary Transformers folder; gflowvlm is not needed to use it."
    )


def _how_to_load(config: RunConfig, exported: Exported) -> str:
    lines = exported.prompt.splitlines(keepends=True)
    prompt = "\n".join(f"    {line!r}" for line in lines)
    return f"""## How to load

```python
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "{exported.name}"  # this folder, or its name on the Hub
model = AutoModelForImageTextToText.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder)

prompt = (
{prompt}
)
image = Image.open(f"{{folder}}/{OBSERVATION_FILE}")
content = [{{"type": "image", "image": image}}, {{"type": "text", "text": prompt}}]
inputs = processor.apply_chat_template(
    [{{"role": "user", "content": content}}],
    add_generation_prompt=True,
    tokenize=True,
    return_dict=True,
    return_tensors="pt",
).to(model.device, model.dtype)
reply = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
print(processor.decode(reply, skip_special_tokens=True))
```

`prompt` and `{OBSERVATION_FILE}` are a first turn as it was trained on; later turns append the \
reply and the next image to the same conversation. `generation_config.json` samples from the very \
law that was trained (temperature {config.policy.temperature:g}, no top-k, no top-p, special \
tokens suppressed): greedy decoding is another policy, without its diversity."""


def _training(config: RunConfig) -> str:
    return f"""## Training

- **Environment**: `{config.environment.id}`, starts from its split \
`{config.environment.train_split}`; the data are {_data(config)}.
- **Method**: {_method(config)}
- **Start**: {_start(config)}

Settings (gflowvlm {__version__}):

```yaml
{yaml.safe_dump(_settings(config), sort_keys=False).strip()}
```"""


def _data(config: RunConfig) -> str:
    if config.objective.type == "sft":
        return "games of the environment's own expert"
    return "games that the policy itself played"


def _method(config: RunConfig) -> str:
    if config.objective.type == "sft":
        return "supervised fine-tuning on those games."
    if isinstance(config.objective, ReinforcementConfig):
        cost = config.objective.kl_coefficient
        cost = 1 / config.beta.end if cost is None else cost
        return (
            f"reinforcement learning by `{config.objective.type}`; the policy learns to maximise "
            f"log R less {cost:g} times its divergence from the policy that training started from; "
            f"log R is `{config.reward.type}`."
        )
    return (
        f"GFlowNet objective `{config.objective.type}`; the policy learns to sample games in "
        f"proportion to `R^beta * p_start^alpha`, alpha {config.alpha:g}, beta "
        f"{config.beta.end:g}, where `p_start` is the policy that training started from and "
        f"log R is `{config.reward.type}`."
    )


def _start(config: RunConfig) -> str:
    if config.policy.start is None:
        return "the bare base model."
    return f"the base with the adapter `{_public(config.policy.start)}`."


def _settings(config: RunConfig) -> dict[str, Any]:
    """The recipe without anything that names a place on the machine it ran on."""
    settings = config.model_dump(mode="json", exclude={"name", "output", "evaluation"})
    policy = settings["policy"]
    for name in ("model", "start"):
        policy[name] = policy[name] and _public(policy[name])
    del policy["device"]
    return settings


def _results(exported: Exported) -> str:
    unknown = [] if "after" in exported.measured else ["This checkpoint was not measured."]
    tables = map(_split_table, _by_split(exported.measured))
    return "\n\n".join(["## Results", *unknown, *tables])


def _by_split(
    measured: Mapping[str, Sequence[Measurement]],
) -> list[dict[str, Measurement]]:
    """One mapping per split: name of the policy -> its measurement."""
    splits = dict.fromkeys(result.split for results in measured.values() for result in results)
    return [
        {
            name: result
            for name, results in measured.items()
            for result in results
            if result.split == split
        }
        for split in splits
    ]


def _split_table(measured: Mapping[str, Measurement]) -> str:
    columns = {"before": "before training", "after": "this model"}
    names = [columns.get(name, name) for name in measured]
    first = next(iter(measured.values()))
    others = [each for each in beside([*measured.values()]) if each.name != "sampler"]
    heads = [*names, *map(head_of, others)]
    header = f"| | {' | '.join(heads)} |"
    rule = "|---" * (len(heads) + 1) + "|"
    rows = [
        f"| {name} | "
        + " | ".join(_interval(getattr(result, name)) for result in measured.values())
        + "".join(f" | {other.figures[name]}" for other in others)
        + " |"
        for name in ("reach", "strict")
    ]
    about = "; ".join(
        f"{name}: {m.episodes} games, seed {m.seed}, temperature {m.temperature:g}"
        for name, m in zip(names, measured.values(), strict=True)
    )
    legend = "*reach*: goal within the limit; *strict*: and return above 0. 95 % Wilson intervals."
    return "\n".join([f"Split `{first.split}` ({about}):", "", header, rule, *rows, "", legend])


def _limits(config: RunConfig, exported: Exported) -> str:
    lines = [
        "## Limits",
        "",
        "- Log-probabilities of these weights and of base with adapter differ by at most "
        f"{exported.gap:.2g} nats a token, measured on this folder in {config.policy.dtype}.",
        "- It was trained and measured in this one environment.",
    ]
    if config.policy.actions == "constrained":
        lines.append(
            "- In training the action word was bound to the legal ones; plain `generate` is not."
        )
    return "\n".join(lines)


def _licence(licence: Mapping[str, str]) -> str:
    name = licence.get("license_name", licence["license"])
    if name == UNKNOWN_LICENCE:
        return "## Licence\n\nThat of the base model, whose card could not be read or names none."
    return f"## Licence\n\n{name}, as the base model."


def _public(source: str | Path) -> str:
    """A name without the folders above it, unless it is an id or inside the package."""
    name = str(source)
    return Path(name).name if Path(name).is_dir() else name


def _interval(share: Share) -> str:
    return f"{share.value:.1%} ({share.low:.1%}-{share.high:.1%})"
