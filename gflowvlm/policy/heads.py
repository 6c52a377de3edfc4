"""Small regressors on the model's hidden state: the log-flow (at the first state, log Z)."""

import torch
from torch import Tensor, nn


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
