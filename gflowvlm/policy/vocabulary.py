"""Between text and token ids: what may be sampled, where a character lies, what is unsayable."""

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from gflowvlm.errors import UserError

_REPLACEMENT = "\ufffd"  # what a decoder shows for a character whose bytes are not all there
_METASPACE = "\u2581"  # SentencePiece's mark of a space
_SPACES = (
    "\\s\u0120\u010a\u0109" + _METASPACE
)  # as they look in byte-level and SentencePiece tokens
# Within one token: the end of a key and the beginning of a value, other than its quote.
_OVERSHOOT = re.compile(rf'"[{_SPACES}]*:[{_SPACES}]*(?:"[^"]|[^{_SPACES}"])')
# A token with a quote that ends a value of a reply and goes on to the next key at most.
_ENDS_VALUE = re.compile(rf'[^"\\\\]*"(?:,(?:[ \u0120{_METASPACE}]"?)?)?')
# A quote or a backslash, also as the byte that some tokenizers fall back to.
_MARK = re.compile(r'["\\]|^<0x(?:22|5C)>$')
_SPARE = re.compile(r"unk|reserved|unused")  # names of tokens that no training text holds
_IMAGE_IDS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")


class Vocabulary:
    """A tokenizer with the few questions the policy asks of it."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, size: int
    ) -> None:
        """Read the special tokens.

        Args:
            tokenizer: the processor's.
            config: the model's, for the ids of image placeholders.
            size: rows of the language head; may exceed the tokenizer's.
        """
        self.tokenizer: Any = tokenizer
        self.size = size
        self.placeholders = frozenset(
            i for i in (getattr(config, name, None) for name in _IMAGE_IDS) if i is not None
        )
        added = self.tokenizer.added_tokens_decoder
        self.special_ids = (
            frozenset(self.tokenizer.all_special_ids)
            | self.placeholders
            | {index for index, token in added.items() if token.special}
        )
        words = [self.tokenizer.convert_ids_to_tokens(index) for index in self.special_ids]
        words += [getattr(self.tokenizer, name, None) for name in ("image_token", "video_token")]
        long_first = sorted({w for w in words if w and len(w) > 1}, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, long_first)) or r"(?!)")

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a text that continues another; no beginning-of-text, no invented space."""
        if not self._adds_space:
            return tuple(self.tokenizer.encode(text, add_special_tokens=False))
        anchor = self.tokenizer.encode("\n", add_special_tokens=False)
        ids = self.tokenizer.encode("\n" + text, add_special_tokens=False)
        return tuple(ids[len(anchor) :])

    @cached_property
    def _adds_space(self) -> bool:
        """Whether a text's first word gets a space in front (SentencePiece's dummy prefix)."""
        ids = self.tokenizer.encode("{", add_special_tokens=False)
        return self.tokenizer.convert_ids_to_tokens(ids[0]).startswith(_METASPACE)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a reply's ids."""
        return self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    def neutralise(self, text: str) -> str:
        """Break special-token strings in text that came from outside, by a space after one letter.

        "<image>" in an environment's text would become an image placeholder, and "<|im_end|>"
        would end the turn.
        """
        return self._special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def forbidden(
        self, ends: Collection[int], *, constrained: bool, values_only: bool = False
    ) -> list[int]:
        """Ids that may never be sampled, ascending.

        All special tokens and image placeholders but the end ids, and rows of the head without a
        token. With constrained actions also tokens that end a key and begin its value in one:
        they would leave the constraint no place to begin. With `values_only`, where all else of a
        reply is given, also the end ids, and tokens with a backslash or a quote that do not end a
        value: no reply can leave its form.
        """
        known = self.tokenizer.convert_ids_to_tokens(
            list(range(min(len(self.tokenizer), self.size)))
        )
        unused = {index for index, token in enumerate(known) if token is None}
        unused.update(range(len(known), self.size))
        over = {i for i, t in enumerate(known) if constrained and t and _OVERSHOOT.search(t)}
        if values_only:
            marks = {i for i, t in enumerate(known) if t and _MARK.search(t)}
            apart = {i for i in marks if not _ENDS_VALUE.fullmatch(known[i])}
            return sorted(self.special_ids | unused | set(ends) | apart)
        return sorted(((self.special_ids | unused) - set(ends)) | (over - set(ends)))

    def done_id(self, ends: Collection[int], template: str, name: str | None) -> int:
        """An existing special token that stands for DONE; it takes nothing from the replies.

        Args:
            ends: ids that end a turn.
            template: the chat template; what it writes has a duty already.
            name: the token asked for, None for one without a duty, those kept for that first.

        Raises:
            UserError: the token is not special or has a duty, or all have.
        """
        tokenizer = self.tokenizer
        busy = {*ends, *self.placeholders, tokenizer.pad_token_id, tokenizer.bos_token_id}
        words = {i: tokenizer.convert_ids_to_tokens(i) for i in sorted(self.special_ids - busy)}
        free = {word: i for i, word in words.items() if i < self.size and word not in template}
        chosen = min(free, key=lambda w: not _SPARE.search(w), default="") if name is None else name
        if chosen in free:
            return free[chosen]
        raise UserError(
            f"found {'no special token without a duty' if name is None else repr(name)} for DONE, "
            f"expected one of {', '.join(list(free)[:8]) or 'the reserved ones'}: set "
            "policy.done_token, or use an objective without DONE"
        )

    @cached_property
    def with_quote(self) -> frozenset[int]:
        """Ids whose text holds a quote; only they can complete a key."""
        known = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        return frozenset(index for index, token in enumerate(known) if token and '"' in token)

    def start_of(self, ids: Sequence[int], text: str, index: int) -> int:
        """Character of `text`, the decoded `ids`, at which token `index` begins.

        A token that completes a character begun by the one before it begins at that character.
        """
        before = self.decode(ids[:index])
        return len(before if text.startswith(before) else before.rstrip(_REPLACEMENT))

    def first_token_at(self, ids: Sequence[int], text: str, character: int) -> int:
        """Least index of a token that begins at `character` or later; len(ids) if none does."""
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high) // 2
            if self.start_of(ids, text, middle) >= character:
                high = middle
            else:
                low = middle + 1
        return low
