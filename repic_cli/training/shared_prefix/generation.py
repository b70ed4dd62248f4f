"""Sampling completions: each prompt is computed and kept once, whatever the number of its completions.

Stock copies keys and values of the prompt to every completion, and copies all of them again for each token. Here the
completions of a prompt look at the one copy, each has a place for its own tokens, and those that have ended are left
out. It is a decoding loop for `generate(custom_generate=...)`, so that what scores tokens and what ends a completion
is transformers' own, and the random numbers are those of stock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from repic_cli.training.shared_prefix.forward import Rows, prompt_positions
from repic_cli.training.shared_prefix.layout import KEYWORD

CROWDED = 0.75
"""Ended completions are left out when no more than this share of those computed goes on."""


class PromptCache:
    """Keys and values of prompts, and of the completions behind them. It stands for the keyword `KEYWORD`.

    First `attend` sees all prompts packed into one row, then one token of each completion at a time. `groups`: the
    tokens of each prompt and its number of completions.
    """

    def __init__(self, groups: Sequence[tuple[int, int]], room: int) -> None:
        self._bounds = list(pairwise(accumulate((tokens for tokens, _ in groups), initial=0)))
        self._rows = [rows for _, rows in groups]
        self._room, self._filled = room, -1
        self._prompts: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self._own: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def next_token(self) -> None:
        """The next pass is over one more token of each completion."""
        self._filled += 1

    def keep(self, rows: torch.Tensor) -> None:
        """Only these completions (numbers among the present ones, in order) go on."""
        chosen = rows.tolist()
        ends = list(accumulate(self._rows, initial=0))
        self._rows = [sum(start <= row < end for row in chosen) for start, end in pairwise(ends)]
        self._own = {layer: (keys[rows], values[rows]) for layer, (keys, values) in self._own.items()}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> torch.Tensor:
        """Attention; `query`, `key`, `value`: (1, heads, tokens of all prompts, size), then (rows, heads, 1, size)."""
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        if layer not in self._prompts:
            return self._prefill(layer, query, key, value, scale)
        keys, values = self._append(layer, key, value)
        return self._decode(layer, query, keys, values, scale)

    def _prefill(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        found, kept = [], []
        gqa = query.shape[1] != key.shape[1]
        for start, end in self._bounds:
            q, k, v = (part[:, :, start:end] for part in (query, key, value))
            found.append(scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=gqa))
            kept.append((k[0].contiguous(), v[0].contiguous()))
        self._prompts[layer] = kept
        return torch.cat(found, dim=2)

    def _append(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All of the completions' own keys and values, the new ones with them: (rows, key heads, tokens, size)."""
        if layer not in self._own:
            shape = (*key.shape[:2], self._room, key.shape[3])
            self._own[layer] = (key.new_empty(shape), value.new_empty(shape))
        keys, values = self._own[layer]
        keys[:, :, self._filled], values[:, :, self._filled] = key[:, :, 0], value[:, :, 0]
        return keys[:, :, : self._filled + 1], values[:, :, : self._filled + 1]

    def _decode(
        self, layer: int, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
    ) -> torch.Tensor:
        rows, heads, _, size = query.shape
        shared = keys.shape[1]
        query = query.view(rows, shared, heads // shared, size) * scale
        own = query @ keys.transpose(2, 3)  # (rows, key heads, heads per key head, tokens)
        found, start = [], 0
        for (prompt_keys, prompt_values), count in zip(self._prompts[layer], self._rows, strict=True):
            if not count:
                continue
            mine = slice(start, start + count)
            # The completions of a prompt are so many queries to the same keys.
            asked = query[mine].transpose(0, 1).flatten(1, 2)  # (key heads, count x heads per key head, size)
            scores = torch.cat([asked @ prompt_keys.transpose(1, 2), own[mine].transpose(0, 1).flatten(1, 2)], dim=2)
            weights = scores.float().softmax(-1).to(query.dtype)
            of_prompt, of_own = weights.split([prompt_keys.shape[1], own.shape[3]], dim=2)
            of_own = of_own.unflatten(1, (count, -1)).transpose(0, 1)  # (count, key heads, heads per key head, tokens)
            seen = (of_prompt @ prompt_values).unflatten(1, (count, -1)).transpose(0, 1)
            found.append(seen + of_own @ values[mine])
            start += count
        return torch.cat(found).view(rows, heads, 1, size)


@dataclass(frozen=True)
class Prompts:
    """Different prompts, packed: `ids` (1, N), `positions` (3, 1, N); `tokens` of each, `copies`: completions of each.
    `pictures`: all of theirs as keywords of `forward`."""

    ids: torch.Tensor
    positions: torch.Tensor
    tokens: tuple[int, ...]
    copies: tuple[int, ...]
    pictures: dict[str, Any]

    @property
    def ends(self) -> list[int]:
        """Where the last token of each stands."""
        return [end - 1 for end in accumulate(self.tokens)]


def pack_prompts(body: Any, rows: Rows, groups: Sequence[range], see: Any) -> Prompts:
    """The different prompts of rows without completions. `see(pictures)` gives keywords of `forward`."""
    first = [group[0] for group in groups]
    real = rows.attention_mask.bool()
    found = [prompt_positions(body, rows, row) for row in first]
    pictures = [picture for row in first for picture in rows.pictures[row]]
    return Prompts(
        torch.cat([rows.input_ids[row][real[row]] for row in first])[None],
        torch.cat(found, dim=1)[:, None],
        tuple(part.shape[1] for part in found),
        tuple(len(group) for group in groups),
        see(pictures) if pictures else {},
    )


def sample(model: Any, body: Any, rows: Rows, groups: Sequence[range], see: Any, config: Any) -> torch.Tensor:
    """Completions (B, C) of prompts. `rows`: with a completion of 0 columns; `groups`: equal rows.

    `config`: a `GenerationConfig`. The model needs `use_shared_attention`.
    """
    prompts = pack_prompts(body, rows, groups, see)
    tokens: torch.Tensor = model.generate(
        input_ids=rows.input_ids,
        attention_mask=rows.attention_mask,
        generation_config=config,
        custom_generate=partial(decode, prompts=prompts),
    )
    return tokens[:, rows.width :]


def decode(
    model: Any,
    input_ids: torch.Tensor,
    *,
    prompts: Prompts,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    synced_gpus: bool = False,
    **_: object,
) -> torch.Tensor:
    """(B, P) -> (B, P + C): the loop that `generate` runs."""
    asked, device, (rows, width) = input_ids, input_ids.device, input_ids.shape
    room = generation_config.max_length - width
    cache = PromptCache(list(zip(prompts.tokens, prompts.copies, strict=True)), room)
    ends, copies = (torch.tensor(values, device=device) for values in (prompts.ends, prompts.copies))
    outputs = model(
        input_ids=prompts.ids,
        position_ids=prompts.positions,
        use_cache=False,
        logits_to_keep=ends,
        **{KEYWORD: cache},
        **prompts.pictures,
    )
    logits = outputs.logits[0].repeat_interleave(copies, dim=0)  # (B, vocabulary)
    positions = prompts.positions[0, 0, ends].repeat_interleave(copies)
    done = torch.full((rows, room), generation_config._pad_token_tensor.item(), device=device)
    going, ended = torch.arange(rows, device=device), torch.zeros(rows, dtype=torch.bool, device=device)
    step = 0
    while model._has_unfinished_sequences(bool(ended.all()), synced_gpus, device=device):
        if not ended.all():  # else others go on, and need this process to take part
            tokens = pick(logits_processor(input_ids, logits.float()), going, rows, generation_config.do_sample)
            done[going[~ended], step] = tokens[~ended]
            input_ids = torch.cat([input_ids, tokens[:, None]], dim=1)
            ended = ended | stopping_criteria(input_ids, None)
            step, positions = step + 1, positions + 1
            cache.next_token()
            if ended.all() and not synced_gpus:
                break
            if 0 < (~ended).sum() <= CROWDED * len(ended):
                on = (~ended).nonzero()[:, 0]
                cache.keep(on)
                going, input_ids, positions, ended = going[on], input_ids[on], positions[on], ended[on]
        where = positions.expand(3, -1)[:, :, None]
        outputs = model(input_ids=input_ids[:, -1:], position_ids=where, use_cache=False, **{KEYWORD: cache})
        logits = outputs.logits[:, -1]
    return torch.cat([asked, done[:, :step]], dim=1)


def pick(scores: torch.Tensor, going: torch.Tensor, rows: int, at_random: bool) -> torch.Tensor:
    """A token for each of the `going` rows. The random numbers of all `rows` are drawn, as stock does."""
    if not at_random:
        return scores.argmax(-1)
    shares = scores.softmax(-1)
    if len(going) < rows:
        shares = torch.ones(rows, scores.shape[1], dtype=shares.dtype, device=shares.device).index_copy(
            0, going, shares
        )
    return torch.multinomial(shares, 1)[going, 0]


def cut(completions: torch.Tensor, ends: Sequence[int]) -> list[list[int]]:
    """The token ids of each completion, up to and with its first end token."""
    rows = []
    for row in completions.tolist():
        last = next((index for index, token in enumerate(row) if token in ends), len(row) - 1)
        rows.append(row[: last + 1])
    return rows
