"""What a run will cost, before it starts: as measured on replies of the same judge, else a rough guess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repic_cli.evaluation.judging.cache import Reply
from repic_plugins.errors import OptionError

CHARACTERS_A_TOKEN = 4
REPLY_TOKENS = 80
_TILE, _TILE_TOKENS, _PICTURE_TOKENS = 512, 170, 85


@dataclass(frozen=True)
class Prices:
    """In any currency, for a million tokens. There are none in the program: they would be wrong next month."""

    input: float
    output: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """The price of so many tokens."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


def prices_of(given_in: float | None, given_out: float | None) -> Prices | None:
    """The prices, if they were given. Raises `OptionError` for one without the other."""
    if given_in is None and given_out is None:
        return None
    if given_in is None or given_out is None:
        raise OptionError("give both --price-in and --price-out")
    return Prices(given_in, given_out)


@dataclass(frozen=True)
class Estimate:
    """Of the requests that are still to be sent. `most_out`: if every reply were as long as it may be."""

    requests: int
    known: int
    tokens_in: int
    tokens_out: int
    most_out: int
    measured: int
    """Replies on whose usage the numbers rest; 0: they are guessed."""


def guessed_tokens(messages: Sequence[dict[str, Any]], size: tuple[int, int] | None) -> int:
    """Tokens of a request: text by its length, a picture of `size` by tiles, as several providers count it.

    Providers differ by far more than this is exact; `estimated` prefers what was measured.
    """
    text = 0
    for message in messages:
        content = message["content"]
        parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        # Text that is not ASCII takes about a token a character.
        text += sum(len(part) + 3 * sum(not char.isascii() for char in part) for part in parts)
    if size is None:
        return text // CHARACTERS_A_TOKEN
    tiles = math.ceil(size[0] / _TILE) * math.ceil(size[1] / _TILE)
    return text // CHARACTERS_A_TOKEN + _PICTURE_TOKENS + _TILE_TOKENS * tiles


def estimated(guesses: Sequence[int], known: Sequence[Reply], max_tokens: int) -> Estimate:
    """Of requests with these guesses; `known` are the replies that the cache has to others of the same run."""
    counted = [reply for reply in known if reply.tokens_in is not None and reply.tokens_out is not None]
    count, most = len(guesses), len(guesses) * max_tokens
    if counted:
        mean_in = sum(reply.tokens_in or 0 for reply in counted) / len(counted)
        mean_out = sum(reply.tokens_out or 0 for reply in counted) / len(counted)
        return Estimate(count, len(known), round(count * mean_in), round(count * mean_out), most, len(counted))
    return Estimate(count, len(known), sum(guesses), min(most, count * REPLY_TOKENS), most, 0)
