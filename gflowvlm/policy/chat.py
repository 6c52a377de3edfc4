"""A conversation as chunks of context: what stands before each reply, exactly once.

Chunk 0 is the chat template's rendering of the first user turn up to where the model speaks.
Chunk t is what the template puts between reply t-1, whose end-of-turn token the model sampled
itself, and reply t. Nothing that was fed to the model is ever rendered or tokenised again.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig

from gflowvlm.errors import UserError
from gflowvlm.policy.families import Family
from gflowvlm.policy.vocabulary import Vocabulary
from gflowvlm.prompting.messages import UserTurn

_TEXT_KEYS = {"input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"}
_MISSPELT_END = "<\\s>"  # what the template of LLaVA-1.6-Mistral writes for its end of text
# They stand for replies; plain letters survive every template.
_MARKS = ("Reply0mark", "Reply1mark", "Reply2mark")


@dataclass(frozen=True)
class Chunk:
    """Context tokens between two replies, with the images among them."""

    ids: tuple[int, ...]
    vision: Mapping[str, Tensor]


def _closed_up(text: str) -> str:
    """Without the space that some templates put before a reply: its first token brings one."""
    return re.sub(rf"\s+(?={'|'.join(_MARKS)})", "", text)


class Chat:
    """Turns user turns into chunks, for one processor and its chat template.

    Turns that say and show the same give the very same chunk for as long as someone holds it, so
    that who reads sees what need not be read twice.
    """

    def __init__(
        self,
        processor: Any,
        vocabulary: Vocabulary,
        family: Family,
        generation: GenerationConfig | None,
    ) -> None:
        """Learn the template's end of turn.

        Raises:
            UserError: there is no chat template, or it does not say how a reply ends.
        """
        self.processor = processor
        self.vocabulary = vocabulary
        self.family = family
        self._render = lru_cache(maxsize=1024)(self._render_uncached)
        self._chunks: WeakValueDictionary[Hashable, Chunk] = WeakValueDictionary()
        if not (getattr(processor, "chat_template", None) or vocabulary.tokenizer.chat_template):
            raise UserError(
                "the model has no chat template, and no way is known to talk to it: add "
                "chat_template.jinja to its folder or use an instruction-tuned model"
            )
        self.closing_id, self._closing_text = self._end_of_turn()
        self.end_ids = frozenset({self.closing_id} | self._declared_ends(generation))
        self._appends = False  # until checked

    def opening(self, turn: UserTurn) -> Chunk:
        """Chunk 0."""
        return self._chunk(self._before_first(turn), turn, first=True)

    def following(self, turn: UserTurn) -> Chunk:
        """Chunk t > 0, without the end-of-turn token of the reply before it.

        Raises:
            UserError: see `require_append_only`.
        """
        self.require_append_only()
        text = self._between(turn)[len(self._closing_text) :]
        return self._chunk(text, turn, first=False)

    def _before_first(self, turn: UserTurn) -> str:
        text = self.vocabulary.neutralise(turn.text)
        return self._render((turn.image is not None, text))

    def _between(self, turn: UserTurn) -> str:
        """What the template writes from the end of a reply to the start of the next."""
        text = self.vocabulary.neutralise(turn.text)
        return self._render((True, "hello"), _MARKS[0], (turn.image is not None, text)).split(
            _MARKS[0]
        )[1]

    def _render_uncached(self, *turns: tuple[bool, str] | str, prompt: bool = True) -> str:
        """Text of a conversation: (has an image, text) is a user turn, a string is a reply."""
        conversation = []
        for turn in turns:
            said = turn if isinstance(turn, str) else turn[1]
            content = [{"type": "text", "text": said}] if said else []
            if not isinstance(turn, str) and turn[0]:
                content.insert(0, {"type": "image"})
            role = "assistant" if isinstance(turn, str) else "user"
            conversation.append({"role": role, "content": content})
        return self.processor.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=prompt
        )

    def _end_of_turn(self) -> tuple[int, str]:
        """The token that ends a reply, and what the template writes for it.

        It is the special token that follows a reply both at the end of a conversation and in its
        middle. A template that writes none leaves the turn to the tokenizer's end-of-text token.
        """
        tokenizer = self.vocabulary.tokenizer
        user = (True, "hello")
        middle = self._render(user, _MARKS[0], user).split(_MARKS[0])
        final = self._render(user, _MARKS[0], prompt=False).split(_MARKS[0])
        if len(middle) != 2 or len(final) != 2:
            raise UserError("the chat template does not repeat a reply's text exactly once")
        for index in self.vocabulary.special_ids:
            token = tokenizer.convert_ids_to_tokens(index)
            if all(part[1].lstrip().startswith(token) for part in (middle, final)):
                space = len(middle[1]) - len(middle[1].lstrip())
                return index, middle[1][: space + len(token)]
        if tokenizer.eos_token_id is None:
            raise UserError(
                "neither the chat template nor the tokenizer has a token that ends a reply: "
                "set eos_token in tokenizer_config.json"
            )
        misspelt = _MISSPELT_END if middle[1].startswith(_MISSPELT_END) else ""
        return tokenizer.eos_token_id, misspelt

    def _declared_ends(self, generation: GenerationConfig | None) -> set[int]:
        """What tokenizer and generation config call the end.

        Ordinary tokens are passed over: configs come with a default id (2) that is a letter in
        many vocabularies.
        """
        ends = generation.eos_token_id if generation is not None else None
        several = ends if isinstance(ends, list) else [ends]
        declared = {*several, self.vocabulary.tokenizer.eos_token_id}
        return {end for end in declared if end is not None and end in self.vocabulary.special_ids}

    def require_append_only(self) -> None:
        """A conversation of four turns must be its chunks and replies one after the other.

        One of them shows nothing, one says nothing.

        Raises:
            UserError: the template rewrites earlier turns.
        """
        if self._appends:
            return
        image = np.zeros((1, 1, 3), np.uint8)
        first, *later = (
            UserTurn(image=shown, text=text)
            for shown, text in ((image, "one"), (image, ""), (None, "three"), (image, "four"))
        )
        said = [(True, "one")]
        parts = [self._before_first(first)]
        for mark, turn in zip(_MARKS, later, strict=True):
            said += [mark, (turn.image is not None, turn.text)]
            parts += [mark, self._between(turn)]
        whole = self._render(*said)
        if _closed_up(whole) != _closed_up("".join(parts)):
            raise UserError(
                "the chat template rewrites earlier turns when a new one is added (found by "
                "rendering four turns at once and one by one); a cache across turns needs one "
                "that only appends: set policy.layout to rewritten or use another template"
            )
        self._appends = True

    def _chunk(self, text: str, turn: UserTurn, *, first: bool) -> Chunk:
        image = turn.image
        key = (text, first, None if image is None else (image.shape, image.tobytes()))
        chunk = self._chunks.get(key)
        if chunk is None:
            chunk = self._chunks[key] = self._process(text, image, first=first)
        return chunk

    def _process(self, text: str, image: NDArray[np.uint8] | None, *, first: bool) -> Chunk:
        """Run the processor on one chunk."""
        options = dict(self.family.processor_options)
        if image is not None:
            options["images"] = [Image.fromarray(image)]
        bos = self.vocabulary.tokenizer.bos_token
        # A template that writes the beginning-of-text token itself must not get a second one.
        if not first or (bos is not None and text.startswith(bos)):
            options["add_special_tokens"] = False
        output = self.processor(text=[text], return_tensors="pt", **options)
        vision = {name: tensor for name, tensor in output.items() if name not in _TEXT_KEYS}
        return Chunk(tuple(output["input_ids"][0].tolist()), vision)
