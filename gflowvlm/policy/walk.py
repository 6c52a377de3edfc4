"""A policy's log-prob of every legal action at many histories, each history's tokens read once.

Histories that share their past share its keys and values: a batch of them is fed on top of the
cache of the batch they continue, so a tree of N histories costs N turns and not N conversations.
For policies whose replies are actions alone: then an action's probability is one exact number.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gflowvlm.errors import UserError
from gflowvlm.policy.chat import Chunk
from gflowvlm.policy.moment import Moment, Reading
from gflowvlm.policy.past import Past
from gflowvlm.policy.slots import FORCED_OPENING
from gflowvlm.policy.trie import TokenTrie
from gflowvlm.policy.vlm import VLMPolicy
from gflowvlm.prompting.messages import UserTurn, grows, next_turn
from gflowvlm.prompting.reply import format_reply

T = TypeVar("T")
_CHUNKS_KEPT = 512  # pictures as the model takes them; small games show fewer

Continue = Callable[[Moment, Reading], Sequence[Moment]]
"""Takes what is said at a history and gives those of its continuations to be read as well."""


@dataclass(frozen=True, eq=False)
class _Batch:
    """Histories of one depth, and what they continue."""

    moments: Sequence[Moment]
    past: Past | None = None  # of the batch before; None where nothing is read on
    parents: Sequence[int] = ()  # row of that past that each continues


class Walker:
    """Reads a policy along the branches of games."""

    def __init__(self, policy: VLMPolicy, *, batch_size: int = 64) -> None:
        """Read nothing yet.

        Args:
            policy: constrained, without thought and without DONE.
            batch_size: histories read in one forward pass; bounds memory, changes no result.

        Raises:
            UserError: a reply's probability is no single number under this policy.
        """
        require_plain_actions(policy)
        self.policy = policy
        self.batch_size = batch_size
        self._chunks: dict[tuple[bool, int, str], tuple[Any, Chunk]] = {}
        self._path = lru_cache(maxsize=1024)(policy.rules.action_path)
        self._probes = lru_cache(maxsize=1024)(TokenTrie.last_choices)  # rules keep their tries

    @torch.no_grad()
    def walk(self, starts: Sequence[Moment], follow: Continue, *, reference: bool = False) -> None:
        """Read `starts` and whatever `follow` asks for after them, depth first.

        Args:
            starts: histories without an action.
            follow: is called once with every history read.
            reference: read the frozen reference instead, which has no flow.
        """
        adapters = self.policy.adapters
        assert not reference or adapters is not None, "full weights leave no reference"
        self.policy.model.train(False)
        frozen = adapters.reference() if reference and adapters else nullcontext()
        with frozen:
            known: dict[int, tuple[Moment, Reading]] = {}
            stack = [_Batch(part) for part in _parts(starts, self.batch_size)]
            while stack:
                # Reversed, so that what lies near is read first and caches are soon let go.
                stack += reversed(self._go_on(stack.pop(), follow, known, flows=not reference))

    def _go_on(
        self,
        batch: _Batch,
        follow: Continue,
        known: dict[int, tuple[Moment, Reading]],
        *,
        flows: bool,
    ) -> list[_Batch]:
        """Read one batch and give the batches that continue it."""
        if self.policy.settings.layout == "none":
            readings, past = self._look_up(batch, known, flows=flows), None
        else:
            readings, past = self._read(batch, flows=flows)
        said = zip(batch.moments, readings, strict=True)
        after = [(row, m) for row, each in enumerate(said) for m in follow(*each)]
        return [
            _Batch([m for _, m in part], past, [row for row, _ in part])
            for part in _parts(after, self.batch_size)
        ]

    def _look_up(
        self, batch: _Batch, known: dict[int, tuple[Moment, Reading]], *, flows: bool
    ) -> list[Reading]:
        """What a policy without a memory says: the same wherever it sees the same.

        `known` goes by the observation's id and keeps the moment, so that it stays that one's.
        """
        seen = [id(moment.observations[-1]) for moment in batch.moments]
        new = {at: m for at, m in zip(seen, batch.moments, strict=True) if at not in known}
        if new:
            readings, _ = self._read(_Batch(list(new.values())), flows=flows)
            known.update(zip(new, zip(new.values(), readings, strict=True), strict=True))
        return [known[at][1] for at in seen]

    def _read(self, batch: _Batch, *, flows: bool) -> tuple[list[Reading], Past]:
        """What the policy says at a batch of histories, and what is to be read on from."""
        new, state_at = zip(*(self._tokens(moment) for moment in batch.moments), strict=True)
        past = self._past(batch)
        vision = self.policy.backbone.merge([self._chunk(m).vision for m in batch.moments])
        hidden = self.policy.backbone.feed(new, past, vision=vision)
        if (longest := int(past.position.max())) > self.policy.context_tokens:
            raise UserError(
                f"found a history of {longest} tokens, expected at most the model's "
                f"{self.policy.context_tokens}: shorten the task's limit"
            )
        rows = torch.arange(len(new), device=hidden.device)
        log_flow = [None] * len(new)
        if flows and self.policy.flow_head is not None:
            at = hidden[rows, torch.tensor(state_at, device=hidden.device)]
            log_flow = self.policy.flow_head(at).double().tolist()
        last = hidden[rows, torch.tensor([len(n) - 1 for n in new], device=hidden.device)]
        log_probs = self._choices(batch.moments, last, past)
        return [Reading(*said) for said in zip(log_probs, log_flow, strict=True)], past

    def _past(self, batch: _Batch) -> Past:
        """What a batch is fed on."""
        if batch.past is None or not self._appends:
            return Past.empty(len(batch.moments), self.policy.backbone.device)
        return batch.past.fork(batch.parents)

    def _choices(
        self, moments: Sequence[Moment], last: Tensor, past: Past
    ) -> list[NDArray[np.float64]]:
        """Log-prob of each legal action: the sum over the choices on its path of tokens.

        `last` [B, H] is what the first token of each history's action is predicted from; `past` is
        of the whole histories and is left as it is.
        """
        tries = [self.policy.rules.trie(moment.legal) for moment in moments]
        found: dict[tuple[int, tuple[int, ...]], dict[int, float]] = {
            (row, ()): law for row, law in enumerate(self._laws(last, tries))
        }
        probes = [(row, path) for row, trie in enumerate(tries) for path in self._probes(trie)]
        for part in _parts(probes, self.batch_size):
            fork = past.fork([row for row, _ in part])
            hidden = self.policy.backbone.feed([path for _, path in part], fork, vision={})
            inner = [
                (row, path[: n + 1], hidden[place, n], tries[row].at(path[: n + 1]))
                for place, (row, path) in enumerate(part)
                for n in range(len(path))
            ]
            laws = self._laws(torch.stack([h for _, _, h, _ in inner]), [t for *_, t in inner])
            for (row, path, _, _), law in zip(inner, laws, strict=True):
                found[row, path] = law
        return [
            np.array([self._path_log_prob(word, row, found) for word in moment.legal])
            for row, moment in enumerate(moments)
        ]

    def _laws(self, hidden: Tensor, nodes: Sequence[TokenTrie]) -> list[dict[int, float]]:
        """Log-prob of each token that may come next, in float64."""
        logits, ids = self.policy.language.logits_among(hidden, [node.allowed for node in nodes])
        log_prob = logits.double().log_softmax(-1)
        if bool(log_prob.isnan().any()):
            raise UserError("found logits that are not numbers: the weights have diverged")
        return [
            dict(zip(tokens[: len(node.allowed)], values, strict=False))
            for tokens, values, node in zip(ids.tolist(), log_prob.tolist(), nodes, strict=True)
        ]

    def _path_log_prob(
        self, word: str, row: int, found: Mapping[tuple[int, tuple[int, ...]], dict[int, float]]
    ) -> float:
        """A step without a choice has log-prob 0 and was not read."""
        path = self._path(word)
        return sum(
            found[row, path[:n]][token] for n, token in enumerate(path) if (row, path[:n]) in found
        )

    @property
    def _appends(self) -> bool:
        """Whether a history's tokens begin with those of the history before."""
        return grows(self.policy.settings.layout)

    def _tokens(self, moment: Moment) -> tuple[list[int], int]:
        """Tokens that a history has more than the one before, and where in them h_t is read."""
        rules, said = self.policy.rules, ()
        if moment.actions and self._appends:
            words = moment.observations[-2].legal_actions
            said = self._path(words[moment.actions[-1]])
        context = (*said, *self._chunk(moment).ids)
        return [*context, *rules.encode(FORCED_OPENING)], len(context) - 1

    def _chunk(self, moment: Moment) -> Chunk:
        """The context before the reply; each picture is processed once for a text."""
        turn = self._turn(moment)
        following = bool(moment.actions) and self._appends
        key = (following, id(turn.image), turn.text)
        if key not in self._chunks:
            if len(self._chunks) == _CHUNKS_KEPT:
                self._chunks.pop(next(iter(self._chunks)))
            chat = self.policy.chat
            chunk = chat.following(turn) if following else chat.opening(turn)
            self._chunks[key] = turn.image, chunk  # the image is kept, so that its id is
        return self._chunks[key][1]

    def _turn(self, moment: Moment) -> UserTurn:
        settings = self.policy.settings
        layout, most = settings.layout, settings.history_length
        taken = zip(moment.observations[:-1], moment.actions, strict=True)
        said = [format_reply({}, None, seen.legal_actions[action]) for seen, action in taken]
        return next_turn(layout, moment.observations, said, thought=False, history_length=most)


def require_plain_actions(policy: VLMPolicy) -> None:
    """The replies must be legal actions and nothing else.

    Raises:
        UserError: they are not; the message names the setting.
    """
    if not policy.rules.constrained:
        raise UserError(
            "found policy.actions: free, which may say anything, expected constrained for exact "
            "figures: train with policy.actions=constrained and policy.thought=false"
        )
    if policy.rules.thought:
        raise UserError(
            "found policy.thought: true, which leaves an action's probability to all thoughts, "
            "expected false for exact figures: train with policy.thought=false"
        )
    if policy.rules.done is not None:
        raise UserError(
            "found an objective whose replies may be DONE, expected actions alone for exact "
            "figures: train with another objective.type"
        )


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[first : first + size] for first in range(0, len(items), size)]
