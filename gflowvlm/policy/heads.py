"""Small regressors on the model's hidden state: log-flow (at the first state, log Z) and value."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gflowvlm.errors import UserError

HEADS_FILE = "heads.safetensors"
_VALUE = "value."  # before the names of the value head's weights; the flow head's have none


class FlowHead(nn.Module):
    """log F of a history from the hidden state where it is read; float32, no dropout."""

    def __init__(self, hidden_size: int, width: int = 256) -> None:
        super().__init__()
        # A few huge coordinates of large models' hidden states would drown the others.
        self.normalise = nn.LayerNorm(hidden_size)
        self.layers = nn.Sequential(
            nn.Linear(hidden_size, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.output = nn.Linear(width, 1)
        self.float()
        self.initialise(0.0)

    def initialise(self, value: float) -> None:
        """Make the head answer `value` (nats) everywhere."""
        with torch.no_grad():
            self.output.weight.zero_()
            self.output.bias.fill_(value)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., H] of any dtype to [...] float32; the gradient stops at `hidden`."""
        features = self.layers(self.normalise(hidden.detach().float()))
        return self.output(features).squeeze(-1)


class ValueHead(FlowHead):
    """V of a history, nats: what its policy is expected to earn from there on; made as log F is."""


def save_heads(folder: Path, *, flow: FlowHead | None, value: ValueHead | None) -> None:
    """Write the heads there are into one file; none where there is none."""
    weights = _weights(flow, value)
    if weights:
        save_file(
            {name: weight.contiguous() for name, weight in weights.items()}, folder / HEADS_FILE
        )


def load_heads(folder: Path, *, flow: FlowHead | None, value: ValueHead | None) -> None:
    """Read what `save_heads` wrote, in place; heads that are not asked for are left out.

    Raises:
        UserError: a head is not there, or of another width.
    """
    own = _weights(flow, value)
    if not own:
        return
    file = folder / HEADS_FILE
    stored = load_file(file) if file.is_file() else {}
    for name, weight in own.items():
        head = "value" if name.startswith(_VALUE) else "flow"
        if name not in stored:
            raise UserError(
                f"{folder} holds no {head} head, which this run's objective trains: continue a run "
                "of the same objective, or start anew from its adapter by policy.start"
            )
        if stored[name].shape != weight.shape:
            raise UserError(
                f"{file}: found {name} of shape {list(stored[name].shape)}, expected "
                f"{list(weight.shape)}: use the model and head it was trained with"
            )
        weight.copy_(stored[name])


def _weights(flow: FlowHead | None, value: ValueHead | None) -> dict[str, Tensor]:
    """The heads' own tensors, detached, by the names they have in the file."""
    named = {} if flow is None else dict(flow.state_dict())
    if value is not None:
        named |= {f"{_VALUE}{name}": weight for name, weight in value.state_dict().items()}
    return named
