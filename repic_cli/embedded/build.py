"""Makes the empty embedded model: tokenizer, processor and a small Qwen2.5-VL with random weights.

All three are ordinary Hugging Face objects, saved and loaded without this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from repic_cli.embedded import language
from repic_cli.embedded.records import SYLLABLES, draw_names
from repic_cli.embedded.world import BACKGROUNDS, LIGHTS, identities
from repic_plugins.builtin.tasks import load_templates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 1100
LONGEST_EDGE = 168 * 168
SHORTEST_EDGE = 56 * 56

# Angle brackets first, so that `<luna` and ` <luna` give the same pieces after the bracket: a name is then copied
# token by token wherever it stands. Then the word pattern of Qwen2.
BRACKETS = " ?<|>"
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of about VOCABULARY entries, trained on the world's own sentences."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(BRACKETS), "isolated"),
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=20,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def _corpus() -> Iterator[str]:
    """Sentences in about the shares of the lessons; no picture is drawn."""
    rng = np.random.default_rng(5)
    templates = load_templates()
    ict = templates["ict"]
    instructions = [*templates["oct"]["questions"], *templates["vlt"]["questions"], templates["oct"]["system"]]
    instructions += [
        ict["single"],
        ict["multi"],
        *ict["plain"],
        *ict["personal"],
        *ict["detail"],
        *ict["detail_personal"],
    ]
    instructions += [*templates["demonstration"]["bare"], *templates["demonstration"]["informed"]]
    pool = identities()
    for round_ in range(1500):
        yield from (f" {line}" for line in instructions if round_ % 10 == 0)
        name, other = draw_names(rng, 2, "train")
        phrase = pool[int(rng.integers(len(pool)))].phrase
        position = language.POSITIONS[int(rng.integers(len(language.POSITIONS)))]
        item = language.Item(phrase, position, name if rng.random() < 0.5 else None)
        background = list(BACKGROUNDS)[round_ % len(BACKGROUNDS)]
        light = list(LIGHTS)[round_ % len(LIGHTS)]
        for form in language.FORMS:
            yield language.caption([item], background, light, form=form, detailed=bool(rng.random() < 0.5))
        yield language.box_text(tuple(int(value) for value in rng.integers(0, 112, 4)))  # type: ignore[arg-type]
        yield language.where_answer(other, position, phrase)
        yield f"{language.INFOS[round_ % len(language.INFOS)]}. What does <{other}> look like?"
        yield "user\nassistant\nyes\nno\n yes no"
        yield "".join(SYLLABLES[int(k)] for k in rng.integers(len(SYLLABLES), size=3))


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLProcessor:
    """Pictures between 56 x 56 and 168 x 168 pixels in area; 28 x 28 pixels make one token."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    size = {"shortest_edge": SHORTEST_EDGE, "longest_edge": LONGEST_EDGE}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_TEMPLATE,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """A random model of about 3.5 million parameters in fp32."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(seed)
    token = tokenizer.convert_tokens_to_ids
    ends: dict[str, Any] = {
        "bos_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
    }
    hidden = 192
    text = {
        "vocab_size": (len(tokenizer) + 63) // 64 * 64,
        "hidden_size": hidden,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        # Interleaved sections: with Qwen's three blocks the width axis gets only slow frequencies, which cannot
        # tell the four columns of a small picture apart (shared/embedded.md).
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1] * 24},
        "tie_word_embeddings": True,
        **ends,
    }
    vision = {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_heads": 4,
        "out_hidden_size": hidden,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        # Pictures are so small that every block looks at the whole picture.
        "fullatt_block_indexes": [0, 1, 2, 3],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
        **ends,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        eos_token_id=[ends["eos_token_id"], ends["pad_token_id"]],
        pad_token_id=ends["pad_token_id"],
        bos_token_id=ends["bos_token_id"],
        do_sample=False,
    )
    return model
