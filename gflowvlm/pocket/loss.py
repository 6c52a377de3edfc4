"""What a pocket VLM is trained by: the likelihood of the replies of a batch of conversations."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration


def last_hidden(model: LlavaForConditionalGeneration, batch: dict[str, Tensor]) -> Tensor:
    """[N, S, H] of the language model's last layer.

    Attention is causal and rows are padded behind their end, so padding needs no mask. One is given
    all the same: without any, positions that leap would be taken for another text.
    """
    return model.model(
        input_ids=batch["input_ids"],
        attention_mask=torch.ones_like(batch["input_ids"]),
        position_ids=batch["position_ids"],
        pixel_values=batch.get("pixel_values"),  # a batch may show no picture
        use_cache=False,
    ).last_hidden_state


def reply_loss(model: LlavaForConditionalGeneration, batch: dict[str, Tensor]) -> Tensor:
    """Mean negative log-likelihood of the tokens of the replies, nats."""
    learned = batch["learned"]
    before = learned.roll(-1, dims=1)  # token t is predicted at t - 1; token 0 is never learned
    with _computed_only(model.model.language_model.layers[-1].mlp, before):
        hidden = last_hidden(model, batch)[before]
    return nn.functional.cross_entropy(model.lm_head(hidden), batch["input_ids"][learned])


@contextmanager
def _computed_only(module: nn.Module, wanted: Tensor) -> Iterator[None]:
    """Within, a module that sees each token by itself gives 0 for tokens not wanted.

    Nothing reads what the last layer makes of two tokens in three; without it an update takes 0.96
    of its processor time.

    Args:
        module: maps [N, S, H] to the same shape.
        wanted: [N, S].
    """

    def spread(_: nn.Module, __: tuple[Tensor], output: Tensor) -> Tensor:
        whole = output.new_zeros(*wanted.shape, output.shape[-1])
        whole[wanted] = output
        return whole

    hooks = (
        module.register_forward_pre_hook(lambda _, given: (given[0][wanted],)),
        module.register_forward_hook(spread),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
