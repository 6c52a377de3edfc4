"""From a folder to a model and its processor."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel
from transformers.utils import logging

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
    if name.startswith(("/", "./", "../")) and not Path(name).exists():
        raise UserError(f"found no folder {name}; give that of a vision-language model")
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no model was found at {name}: {_first_line(error)}; "
            "give the folder or hub id of a vision-language model"
        ) from error
    if type(config) not in AutoModelForImageTextToText._model_mapping:
        raise UserError(
            f"{name} holds a {config.model_type!r} model, which does not read images and text; "
            "give the folder or hub id of a vision-language model"
        )
    family_of(config.model_type)  # refuses what is not supported before any weight is read
    model = _load_weights(name, dtype=dtype, attn_implementation=attention)
    processor = _load_processor(name)
    model.to(device)
    model.eval()
    model.requires_grad_(False)
    remove_dropout(model)
    return model, processor


def _load_processor(name: str) -> Any:
    """What turns images and text into the model's input."""
    try:
        processor = AutoProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{name} holds no processor that can be read: {_first_line(error)}; save the model's "
            "own beside its weights"
        ) from error
    if getattr(processor, "tokenizer", None) is None:
        raise UserError(f"{name} holds no processor for images and text: save one beside the model")
    return processor


def _load_weights(name: str, **options: Any) -> Any:
    """The model; a weight that is not in the files would stay random, so it is refused."""
    loader: Any = AutoModelForImageTextToText
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of many lines says what ours says in one
    try:
        model, info = loader.from_pretrained(name, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(
            f"the model at {name} cannot be loaded: {_first_line(error)}; give a complete folder, "
            "or another policy.attention"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{name} lacks {len(missing)} of its model's weights, first {missing[0]}; give the "
            "folder of a complete model, an adapter goes into policy.start"
        )
    return model


def _first_line(error: Exception) -> str:
    """What a library says, without the rest of the page."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(" .;:")


def remove_dropout(model: nn.Module) -> None:
    """Set p = 0 everywhere; evaluation mode is no substitute, checkpointing needs training mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout", "attention_dropout_p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
