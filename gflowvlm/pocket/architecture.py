"""The pocket VLM as Hugging Face objects: tokenizer, processor and an untrained LLaVA."""

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

EMBEDDINGS = "model.language_model.embed_tokens.weight"
IMAGE_SIZE = 64  # pixels, square
PATCH_SIZE = 16  # so an image is 16 tokens
CONTEXT = 8192  # tokens; 100 turns of NumberLine need about 4,600

PAD, BEGIN, USER, ASSISTANT, END, IMAGE = (
    "<pad>",
    "<bos>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<image>",
)
RESERVED = tuple(f"<|reserved_{i}|>" for i in range(8))

# JSON glue stays whole, so that replies are short and a value starts with a token; then words
# with their space, single digits, single signs.
PIECES = r'\{"|": "|", "|"\}| ?\p{L}+|\d| ?[^\s\p{L}\d]|\s+'
# The same, but a number's first digit takes its space along: `cabinet 12` is three tokens.
NUMBERED_PIECES = r'\{"|": "|", "|"\}| ?\p{L}+| ?\d| ?[^\s\p{L}\d]|\s+'

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{% else %}<|user|>{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer(corpus: Iterable[str], *, pieces: str, size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned from `corpus`: any text encodes, each digit is its own token.

    Args:
        corpus: texts.
        pieces: a regular expression; no token reaches beyond one match of it.
        size: tokens at most.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[PAD, BEGIN, USER, ASSISTANT, END, IMAGE, *RESERVED],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, *RESERVED],
        extra_special_tokens={"image_token": IMAGE},
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """The id of one of the special tokens above."""
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int), token
    return found


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Images to pixels in which white is 0 (black is -2), text to ids, an image 16 of them.

    White must be 0: with the usual -1..1 a model of this size stayed at chance for 700 steps.
    """
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = CLIPImageProcessor(
        size=size,
        do_center_crop=False,
        image_mean=[1.0, 1.0, 1.0],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, dropped by the "default" strategy
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaForConditionalGeneration:
    """A LLaVA of about 1.5 M float32 parameters with weights drawn from `seed`."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=token_id(tokenizer, PAD),
        bos_token_id=token_id(tokenizer, BEGIN),
        eos_token_id=token_id(tokenizer, END),
        initializer_range=0.05,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=token_id(tokenizer, IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.bos_token_id = token_id(tokenizer, BEGIN)
    model.generation_config.eos_token_id = token_id(tokenizer, END)
    model.generation_config.pad_token_id = token_id(tokenizer, PAD)
    return model


def inherit(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Give `model` the weights of the one in `folder`, which has the same shape but other tokens.

    A token that both know keeps its embedding; a new one begins as the mean of its old pieces.
    """
    parent = LlavaForConditionalGeneration.from_pretrained(folder)
    known: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
    old, words = parent.state_dict()["lm_head.weight"], known.get_vocab()  # the embeddings as well
    rows = []
    for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))):
        text = tokenizer.convert_tokens_to_string([token])
        ids = [words[token]] if token in words else known(text, add_special_tokens=False).input_ids
        rows.append(old[ids].mean(0))
    weights = dict(parent.state_dict())
    weights |= dict.fromkeys(("lm_head.weight", EMBEDDINGS), torch.stack(rows))
    model.load_state_dict(weights)
