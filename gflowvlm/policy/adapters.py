"""LoRA through PEFT: the adapter that trains, and the frozen one it started from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.utils.save_and_load import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from gflowvlm.errors import UserError

TRAINED = "default"
REFERENCE = "reference"
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


class Adapters:
    """A model with a trainable adapter and, where training starts from one, its frozen copy.

    Without a start adapter the reference is the bare base model (adapter switched off).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        rank: int,
        alpha: float,
        targets: Sequence[str] | None,
        start: Path | None,
    ) -> None:
        """Put the adapters on the model's decoder, in place.

        Args:
            model: the base.
            rank: of the adapter; a start adapter must have the same.
            alpha: LoRA's scale numerator; a start adapter brings its own.
            targets: last parts of the names of the layers that get an adapter, None for all
                linear layers of the decoder; a start adapter brings its own.
            start: folder of the adapter to start from, or None for a fresh one.

        Raises:
            UserError: the start adapter does not fit the base or has another rank.
        """
        self.has_reference = start is not None
        if start is None:
            config = LoraConfig(
                r=rank,
                lora_alpha=alpha,  # type: ignore[arg-type]  # a float is fine, it is only divided
                lora_dropout=0.0,
                bias="none",
                target_modules=decoder_linears(model, targets),
            )
            self.peft: Any = get_peft_model(model, config, adapter_name=TRAINED)
            return
        _check_rank(start, rank)
        try:
            self.peft = PeftModel.from_pretrained(
                model, str(start), adapter_name=TRAINED, is_trainable=True
            )
            self.peft.load_adapter(str(start), REFERENCE, is_trainable=False)
        except (RuntimeError, ValueError) as error:  # PEFT: shapes differ, modules are missing
            raise UserError(
                f"the adapter in {start} does not fit this base model: "
                f"{str(error).strip().splitlines()[0]}; use the base it was trained on"
            ) from error
        self._check_names(load_weights(start), start)
        self.peft.set_adapter(TRAINED)

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of the adapter that trains."""
        return [parameter for _, parameter in self._trained()]

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [
            (name, parameter)
            for name, parameter in self.peft.named_parameters()
            if f".{TRAINED}." in name and "lora_" in name
        ]

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Run the frozen reference inside, the trained adapter again afterwards."""
        if not self.has_reference:
            with self.peft.disable_adapter():
                yield
            return
        self.peft.set_adapter(REFERENCE, inference_mode=True)
        try:
            yield
        finally:
            self.peft.set_adapter(TRAINED)

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the trained adapter's weights, by name."""
        return {name: p.detach().clone() for name, p in self._trained()}

    @contextmanager
    def speaking_as(self, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
        """Run a snapshot's weights inside, None for no adapter at all; the trained ones after."""
        if weights is None:
            with self.peft.disable_adapter():
                yield
            return
        own = self.snapshot()
        try:
            self._put(weights)
            yield
        finally:
            self._put(own)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self._trained():
            parameter.data.copy_(weights[name])

    def save(self, folder: Path) -> None:
        """Write the trained adapter in PEFT's own format, loadable without this toolkit."""
        self.peft.save_pretrained(
            str(folder), selected_adapters=[TRAINED], save_embedding_layers=False
        )

    def load(self, folder: Path) -> None:
        """Read the trained adapter's weights, in place.

        Raises:
            UserError: they belong to another model or another rank.
        """
        weights = load_weights(folder)
        self._check_names(weights, folder)
        try:
            set_peft_model_state_dict(self.peft, weights, adapter_name=TRAINED)
        except RuntimeError as error:
            raise UserError(
                f"the adapter in {folder} has other shapes than this run's: "
                f"{str(error).strip().splitlines()[-1].strip()}; use the same base and rank"
            ) from error

    def _check_names(self, weights: dict[str, Tensor], folder: Path) -> None:
        own = set(
            get_peft_model_state_dict(self.peft, adapter_name=TRAINED, save_embedding_layers=False)
        )
        differing = sorted(own ^ set(weights))
        if differing:
            raise UserError(
                f"the adapter in {folder} and this base model differ in {len(differing)} weights, "
                f"first {differing[0]}; use the base it was trained on"
            )


def decoder_linears(model: PreTrainedModel, targets: Sequence[str] | None = None) -> list[str]:
    """Exact names of the language decoder's linear layers; never the vision tower's or the head.

    Raises:
        UserError: a target names none of them.
    """
    decoder: Any = model.get_decoder()
    inside = {id(module) for module in decoder.modules() if isinstance(module, nn.Linear)}
    names = [name for name, module in model.named_modules() if id(module) in inside]
    found = {name.rpartition(".")[2] for name in names}
    unknown = sorted(set(targets or ()) - found)
    if unknown:
        raise UserError(
            f"the decoder has no linear layers named {unknown}; its own are {sorted(found)}"
        )
    return [name for name in names if targets is None or name.rpartition(".")[2] in targets]


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of an adapter folder.

    Raises:
        UserError: there are none.
    """
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise UserError(f"{folder} holds no {WEIGHTS_FILE}; give a folder written by save")
    return load_file(str(file))


def _check_rank(start: Path, rank: int) -> None:
    file = start / CONFIG_FILE
    if not file.is_file():
        raise UserError(f"{start} holds no {CONFIG_FILE}; give the folder of a LoRA adapter")
    found = json.loads(file.read_text()).get("r")
    if found != rank:
        raise UserError(
            f"the adapter in {start} has rank {found}, the policy asks for {rank}: "
            f"set the rank to {found} or start from another adapter"
        )
