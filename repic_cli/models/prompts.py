"""From samples to the text a processor takes, with a guard against special tokens in user text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from repic_plugins.errors import DataError
from repic_plugins.types import Sample


def special_tokens(processor: Any) -> frozenset[str]:
    """Texts that the tokenizer turns into control tokens: turn markers, picture placeholders, end of text.

    Added tokens that are not marked special (`<think>`, `<tool_call>`) are ordinary words of some families' output.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    tokens = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    tokens |= set(tokenizer.all_special_tokens)
    for name in ("image_token", "video_token", "boi_token", "eoi_token", "vision_start_token", "vision_end_token"):
        for owner in (processor, tokenizer):
            token = getattr(owner, name, None)
            if isinstance(token, str):
                tokens.add(token)
    return frozenset(token for token in tokens if token.strip())


def check_messages(messages: Sequence[Mapping[str, Any]], tokens: frozenset[str], sample_id: str) -> None:
    """Raise `DataError` if a text of the messages holds a control token.

    Names and infos are checked where they enter (`repic_cli.data.names`); this is the last gate before the chat
    template, in front of which text and tokens can no longer be told apart.
    """
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            found = next((token for token in sorted(tokens) if token in part.get("text", "")), None)
            if found is not None:
                raise DataError(
                    f"sample {sample_id}: the text of the prompt holds the model's special token {found!r}, "
                    "which would break the prompt; change the name, info or template that it comes from"
                )


def render(processor: Any, sample: Sample) -> str:
    """The prompt as text, ready for the processor: chat template applied, turn of the assistant opened.

    Raises `DataError` if the text holds a control token, or if the picture parts do not match the pictures.
    """
    check_messages(sample.messages, _tokens_of(processor), sample.id)
    places = sum(
        part["type"] == "image"
        for message in sample.messages
        if not isinstance(message["content"], str)
        for part in message["content"]
    )
    if places != len(sample.images):
        raise DataError(f"sample {sample.id}: {len(sample.images)} pictures for {places} places in the prompt")
    text = processor.apply_chat_template(list(sample.messages), tokenize=False, add_generation_prompt=True)
    return str(text)


@lru_cache(maxsize=8)
def _tokens_of(processor: Any) -> frozenset[str]:
    return special_tokens(processor)
