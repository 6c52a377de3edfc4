"""From a folder to a model and its processor."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from gflowvlm.errors import UserError
from gflowvlm.policy.families import family_of


def load_model(
    source: str | Path,
    *,
    dtype: torch.dtype | str,
    device: torch.device | str,
    attention: str | None,
) -> tuple[PreTrainedModel, Any]:
    """Load a vision-language model, frozen, in evaluation mode and without any dropout.

    Args:
        source: a model folder or a hub id.
        dtype: of the weights; "auto" keeps the stored one.
        device: where the model goes.
        attention: name of the attention kernel; None leaves the choice to Transformers.

    Raises:
        UserError: there is no such model.
    """
    name = str(source)
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise UserError(f"{name} holds no config.json; give the folder of a vision-language model")
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no model was found at {name}: {str(error).splitlines()[0]}; "
            "give the folder or hub id of a vision-language model"
        ) from error
    if type(config) not in AutoModelForImageTextToText._model_mapping:
        raise UserError(
            f"{name} holds a {config.model_type!r} model, which does not read images and text; "
            "give the folder or hub id of a vision-language model"
        )
    family_of(config.model_type)  # refuses what is not supported before any weight is read
    model: Any = AutoModelForImageTextToText.from_pretrained(
        name, dtype=dtype, attn_implementation=attention
    )
    processor = AutoProcessor.from_pretrained(name)
    if getattr(processor, "tokenizer", None) is None:
        raise UserError(f"{name} holds no processor for images and text: save one beside the model")
    model.to(device)
    model.eval()
    model.requires_grad_(False)
    remove_dropout(model)
    return model, processor


def remove_dropout(model: nn.Module) -> None:
    """Set p = 0 everywhere; evaluation mode is no substitute, checkpointing needs training mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "attention_dropout_p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
