"""From hidden states to log-probs of tokens, without ever holding a [N, S, V] tensor."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class LanguageHead:
    """The model's output layer with the policy's temperature and its one mask of forbidden ids.

    The same object serves sampling, scoring and the reference, so the three cannot disagree.
    """

    def __init__(
        self,
        layer: nn.Module,
        forbidden: Collection[int],
        *,
        done: int | None = None,
        temperature: float,
        softcap: float | None,
        chunk: int,
        device: torch.device,
    ) -> None:
        """Keep the facts.

        Args:
            layer: [.., H] to [.., V].
            forbidden: ids whose logits are -inf wherever nothing else is said.
            done: the one of them that may be said in place of a reply, so where one begins.
            temperature: divides the logits.
            softcap: logits become softcap * tanh(logits / softcap), or None.
            chunk: positions whose logits exist at the same time.
            device: the layer's.
        """
        self.layer = layer
        self.forbidden = torch.tensor(sorted(forbidden), dtype=torch.long, device=device)
        self.done = done
        within = [index for index in sorted(forbidden) if index != done]
        self.forbidden_first = torch.tensor(within, dtype=torch.long, device=device)
        self.temperature = temperature
        self.softcap = softcap
        self.chunk = chunk

    def raw_logits(self, hidden: Tensor) -> Tensor:
        """[M, H] to [M, V] float32: tempered, nothing masked."""
        logits = self.layer(hidden).float()
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits if self.temperature == 1.0 else logits / self.temperature

    def logits(self, hidden: Tensor, *, first: bool = False) -> Tensor:
        """[M, H] to [M, V] float32, forbidden ids at -inf; `first` where a reply begins."""
        forbidden = self.forbidden_first if first else self.forbidden
        return self.raw_logits(hidden).index_fill_(-1, forbidden, float("-inf"))

    def logits_among(
        self, hidden: Tensor, allowed: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Logits of constrained steps.

        Args:
            hidden: [C, H].
            allowed: ids each step may choose from.

        Returns:
            logits [C, A] float32, -inf beyond a step's own ids, and the ids [C, A].
        """
        ids, real = padded_ids(allowed, hidden.device)
        logits = self.raw_logits(hidden).gather(-1, ids)
        return logits.masked_fill(~real, float("-inf")), ids

    def score(
        self,
        hidden: Tensor,
        targets: Tensor,
        allowed: Sequence[tuple[int, ...] | None],
        first: Sequence[bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-prob of each target and entropy of the law it was drawn from, nats.

        Args:
            hidden: [M, H] state from which each target is predicted.
            targets: [M] token ids.
            allowed: M entries, the ids a constrained step chose from or None.
            first: M entries, True where a reply begins.

        Returns:
            [M] float32 differentiable, [M] float32 without gradient, and [M] float32 the log-prob
            of DONE from the same logits, NaN where it cannot be said. A step that had no choice
            has log-prob 0 and entropy 0 and costs nothing.
        """
        device = hidden.device
        log_prob = torch.zeros(len(allowed), device=device)
        entropy = torch.zeros(len(allowed), device=device)
        done = torch.full_like(log_prob, float("nan"))
        places, log_probs, entropies, stopping = [], [], [], []
        for (constrained, stops), steps in self._kinds(allowed, first).items():
            for begin in range(0, len(steps), self.chunk):
                part = steps[begin : begin + self.chunk]
                index = torch.tensor(part, device=device)
                among = [allowed[i] or () for i in part] if constrained else None
                found = checkpoint(
                    self._score_chunk,
                    *(hidden[index], targets[index], among, stops),
                    use_reentrant=False,
                )
                assert found is not None, "checkpoint returns what the function does"
                places.append(index)
                log_probs.append(found[0])
                entropies.append(found[2])
                stopping.append(found[1])
        if not places:
            return log_prob, entropy, done
        place = torch.cat(places)
        return (
            log_prob.index_copy(0, place, torch.cat(log_probs)),
            entropy.index_copy(0, place, torch.cat(entropies)),
            done.index_copy(0, place, torch.cat(stopping)),
        )

    def _kinds(
        self, allowed: Sequence[tuple[int, ...] | None], first: Sequence[bool]
    ) -> dict[tuple[bool, bool], list[int]]:
        """Steps with a choice, by (constrained to some ids, DONE may be said)."""
        kinds: dict[tuple[bool, bool], list[int]] = {}
        for step, (ids, begins) in enumerate(zip(allowed, first, strict=True)):
            if ids is None or len(ids) > 1:
                stops = begins and self.done is not None
                kinds.setdefault((ids is not None, stops), []).append(step)
        return kinds

    def _score_chunk(
        self,
        hidden: Tensor,
        targets: Tensor,
        among: Sequence[tuple[int, ...]] | None,
        stops: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of a few positions; entropy last, so that recomputation stops before it.

        No more than two tensors of the logits' size exist at a time.
        """
        if among is None:
            logits = self.logits(hidden, first=stops)
            column, stop = targets[:, None], torch.full_like(targets, self.done or 0)[:, None]
        else:
            logits, ids = self.logits_among(hidden, among)
            column = (ids == targets[:, None]).int().argmax(-1, keepdim=True)
            stop = (ids == (-1 if self.done is None else self.done)).int().argmax(-1, keepdim=True)
        normaliser = logits.logsumexp(-1)
        log_prob = logits.gather(-1, column)[:, 0] - normaliser
        if stops:
            done = logits.gather(-1, stop)[:, 0] - normaliser
        else:
            done = torch.full_like(normaliser, float("nan"))
        with torch.no_grad():
            probability = logits.softmax(-1)
            entropy = torch.special.entr(probability, out=probability).sum(-1)
        return log_prob, done, entropy


def padded_ids(lists: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Lists of different lengths as [C, A] int64 and [C, A] bool, True where an id is real."""
    longest = max(len(ids) for ids in lists)
    padded = [[*ids, *[ids[0]] * (longest - len(ids))] for ids in lists]
    real = [[True] * len(ids) + [False] * (longest - len(ids)) for ids in lists]
    return torch.tensor(padded, device=device), torch.tensor(real, device=device)
