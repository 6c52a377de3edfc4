"""Several episodes sampled side by side, with one KV cache that lives across their turns."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.config.policy import Layout
from gflowvlm.episode import Observation, Reply
from gflowvlm.errors import UserError
from gflowvlm.policy.alike import distinct, of_like_length
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.expert import say
from gflowvlm.policy.language_head import LanguageHead
from gflowvlm.policy.past import Past, joined
from gflowvlm.policy.sampling import inverse_cdf
from gflowvlm.policy.slots import Phase, ReplyRules, Slot
from gflowvlm.policy.transcript import Record, Transcript, require_room
from gflowvlm.prompting.messages import grows


class VLMSession:
    """Implements `policy.base.Session` on a Hugging Face model.

    A turn: the new chunks, each beginning with what the last reply left unfed, go in beside those
    of like length; then tokens are decoded one column at a time, all slots together. A slot whose
    reply is over leaves holes in its columns until the turn ends; a slot left out of the next turn
    leaves the batch. In layouts that write a new prompt for each decision, every turn begins with
    an empty cache. While chunks go in apart, the cache is held twice.
    """

    def __init__(
        self,
        keys: Sequence[EpisodeKey],
        *,
        backbone: Backbone,
        language: LanguageHead,
        rules: ReplyRules,
        layout: Layout,
        history_length: int | None,
        image_id: int | None,
        context_tokens: int,
        exploration_temperature: float,
    ) -> None:
        """Open one slot per key.

        Args:
            keys: name each slot's noise.
            backbone: the model's body.
            language: its head; must be the one that scores.
            rules: how replies are made.
            layout: how the history enters a prompt.
            history_length: the latest steps that a rewritten prompt may hold; None for all.
            image_id: the placeholder's id, for families whose positions need it.
            context_tokens: the longest sequence the model can read.
            exploration_temperature: divides logits once more; 0 takes the likeliest token.
        """
        self._backbone = backbone
        self._language = language
        self._context_tokens = context_tokens
        self._temperature = exploration_temperature
        self._layout: Layout = layout
        empty = partial(Transcript, backbone.family, image_id)
        self._slots = []
        for key in keys:
            record = Record(
                layout,
                rules.chat,
                thought=rules.thought,
                history_length=history_length,
                transcript=empty,
            )
            self._slots.append(Slot(key, rules, record))
        self._order: list[int] | None = None  # slot of each batch row; None before the first turn
        self._past = Past.empty(0, backbone.device)
        self._rows: list[int] = []  # of the past, for each slot of the order

    @torch.no_grad()
    def reply(self, observations: Mapping[int, Observation]) -> dict[int, Reply]:
        """Sample one reply for each slot given; slots left out are dropped for good.

        Raises:
            UserError: a prompt is longer than the context; see `room`.
        """
        if not observations:
            return {}
        self._keep(list(observations))
        assert self._order is not None, "set by _keep"
        live = [self._slots[index] for index in self._order]
        draws = [
            slot.open_reply(observations[i]) for i, slot in zip(self._order, live, strict=True)
        ]
        for slot in live:
            require_room(len(slot.transcript.ids), self._context_tokens)
        noise = np.zeros((len(live), max(len(draw) for draw in draws)))
        for line, draw in zip(noise, draws, strict=True):
            line[: len(draw)] = draw
        self._decode(live, noise, self._prefill(live))
        return {i: slot.close_reply() for i, slot in zip(self._order, live, strict=True)}

    def give(self, slot: int, observation: Observation, reply: str) -> None:
        """Let a slot say a given reply; only before any of the session's own."""
        assert self._order is None, "a given reply comes before all sampled ones"
        say(observation, reply, self._slots[slot].rules, self._slots[slot].record)

    def rows(self, slot: int) -> tuple[Row, ...]:
        """The token sequences of everything the slot has seen and said so far, in order."""
        return self._slots[slot].rows()

    def room(self, slot: int, observation: Observation) -> int:
        """Tokens the slot's context can still take once `observation` has been said."""
        return self._context_tokens - self._slots[slot].record.prompt_tokens(observation)

    def _keep(self, slots: list[int]) -> None:
        """Make the batch consist of these slots."""
        before, self._order = self._order, slots
        if before is None:
            self._start_anew(slots)
            return
        row_of = {slot: row for row, slot in enumerate(before)}
        gone = [slot for slot in slots if slot not in row_of]
        assert not gone, f"slots {gone} were dropped earlier and cannot come back"
        if not grows(self._layout):
            self._start_anew(slots)
            return
        self._rows = [row_of[slot] for slot in slots]

    def _start_anew(self, slots: list[int]) -> None:
        """Empty the cache: each slot's next tokens are the first of a transcript."""
        self._past = Past.empty(len(slots), self._backbone.device)
        self._rows = list(range(len(slots)))
        for slot in slots:
            self._slots[slot].fed = self._slots[slot].seen = 0

    def _prefill(self, live: Sequence[Slot]) -> Tensor:
        """Feed each slot's unfed tokens; [B, H] hidden state at each one's last.

        Slots whose games have been the same so far are fed once; each gets a copy of the cache.
        """
        firsts, place = distinct(
            ((slot.fed, *slot.transcript.ids), slot.transcript.vision) for slot in live
        )
        last = self._feed([live[first] for first in firsts], [self._rows[i] for i in firsts])
        for slot in live:
            slot.fed, slot.seen = len(slot.transcript.ids), len(slot.transcript.vision)
        self._past.keep(place if len(firsts) < len(live) else None)
        return last[place]

    def _feed(self, slots: Sequence[Slot], rows: list[int]) -> Tensor:
        """Feed the unfed tokens of slots in these rows; [B, H] hidden state at each one's last.

        Afterwards the past is of these slots alone. Those with about as many tokens go together.
        """
        new = [slot.unfed() for slot in slots]
        groups = of_like_length([len(tokens) for tokens in new])
        if len(groups) == 1:
            groups, parts = [list(range(len(new)))], [self._past]
            self._past.keep(None if rows == list(range(len(self._past.mask))) else rows)
        else:
            parts = [self._past.fork([rows[i] for i in group]) for group in groups]
        last = [torch.empty(0)] * len(new)
        for group, past in zip(groups, parts, strict=True):
            vision = self._backbone.merge([v for i in group for v in slots[i].unseen()])
            hidden = self._backbone.feed([new[i] for i in group], past, vision=vision)
            for row, i in enumerate(group):
                last[i] = hidden[row, len(new[i]) - 1]
        self._past = parts[0] if len(parts) == 1 else joined(parts, groups)
        return torch.stack(last)

    def _decode(self, live: Sequence[Slot], noise: NDArray[np.float64], hidden: Tensor) -> None:
        """Sample and feed token by token until every reply is over.

        Args:
            live: the slots of the batch.
            noise: [B, tokens of a reply] uniforms.
            hidden: [B, H] at each slot's last fed token.
        """
        past = self._past
        columns = past.mask.shape[1]
        # One buffer for the turn; each step uses one column more of it.
        mask = torch.cat([past.mask, past.mask.new_zeros(len(live), noise.shape[1])], 1)
        while True:
            self._sample(live, noise, hidden)
            open_rows = [row for row, slot in enumerate(live) if slot.phase is not Phase.DONE]
            if not open_rows:
                break
            tokens = [self._backbone.pad_id] * len(live)
            for row in open_rows:
                slot = live[row]
                tokens[row] = slot.transcript.ids[slot.fed]
                slot.fed += 1
            mask[open_rows, columns] = 1
            columns += 1
            output, past.position = self._backbone.hidden(
                torch.tensor(tokens, device=mask.device)[:, None],
                mask[:, :columns],
                past.position,
                cache=past.cache,
            )
            hidden = output[:, 0]
        past.mask = mask[:, :columns]

    def _sample(self, live: Sequence[Slot], noise: NDArray[np.float64], hidden: Tensor) -> None:
        """Sample a token for every slot whose tokens are all fed."""
        free, bound = [], []
        for row, slot in enumerate(live):
            if slot.phase is not Phase.DONE and slot.fed == len(slot.transcript.ids):
                (free if slot.phase is Phase.FREE else bound).append(row)
        if free:
            whole = len(free) == len(live)
            first = live[free[0]].reply_length == 0  # replies of a turn begin together
            logits = self._language.logits(hidden if whole else hidden[free], first=first)
            self._draw(live, free, noise, logits, None)
        if bound:
            allowed = [live[row].allowed or () for row in bound]
            logits, ids = self._language.logits_among(hidden[bound], allowed)
            self._draw(live, bound, noise, logits, ids)

    def _draw(
        self,
        live: Sequence[Slot],
        rows: Sequence[int],
        noise: NDArray[np.float64],
        logits: Tensor,
        ids: Tensor | None,
    ) -> None:
        """Draw one index per row of `logits` and hand the token to its slot.

        Raises:
            UserError: the model's logits are not numbers any more.
        """
        if not bool(logits.logsumexp(-1).isfinite().all()):
            raise UserError(
                "found logits that are not finite, expected numbers: the weights have diverged, "
                "resume from a checkpoint with a lower trainer.learning_rate"
            )
        if self._temperature == 0.0:
            chosen = logits.argmax(-1)
            log_prob = torch.zeros(len(rows))
        else:
            logits = logits if self._temperature == 1.0 else logits / self._temperature
            uniform = noise[rows, [live[row].reply_length for row in rows]]
            chosen = inverse_cdf(logits, torch.from_numpy(uniform).to(logits.device))
            log_prob = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)
        tokens = chosen if ids is None else ids.gather(-1, chosen[:, None])[:, 0]
        for row, token, value in zip(rows, tokens.tolist(), log_prob.tolist(), strict=True):
            live[row].take(token, value)
