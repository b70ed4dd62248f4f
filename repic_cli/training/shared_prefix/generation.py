"""Sampling completions: the prompt is computed once, its cache is copied to all of its completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from repic_cli.training.shared_prefix.forward import Rows, prompt_positions


def sample(model: Any, body: Any, rows: Rows, groups: Sequence[range], see: Any, config: Any) -> torch.Tensor:
    """Completions (B, C) of prompts. `rows`: with a completion of 0 columns; `groups`: equal rows.

    The random numbers are those that `generate` would draw without a cache. `config`: a `GenerationConfig`.
    """
    first = [group[0] for group in groups]
    owner = torch.tensor([number for number, group in enumerate(groups) for _ in group], device=body.device)
    width = rows.width
    positions = torch.zeros(3, len(first), width, dtype=torch.long, device=body.device)
    for number, row in enumerate(first):
        found = prompt_positions(body, rows, row)
        positions[:, number, width - found.shape[1] :] = found
    pictures = [picture for row in first for picture in rows.pictures[row]]
    out = model(
        input_ids=rows.input_ids[first, :-1],
        attention_mask=rows.attention_mask[first, :-1],
        position_ids=positions[:, :, :-1],
        use_cache=True,
        logits_to_keep=1,
        **(see(pictures) if pictures else {}),
    )
    cache = out.past_key_values
    cache.batch_select_indices(owner)
    # What text positions are ahead of the number of tokens: pictures take fewer positions than tokens.
    lengths = rows.attention_mask[first].sum(1)
    body.rope_deltas = (positions[0, :, -1] + 1 - lengths)[owner, None]
    tokens: torch.Tensor = model.generate(
        input_ids=rows.input_ids, attention_mask=rows.attention_mask, past_key_values=cache, generation_config=config
    )
    return tokens[:, width:]


def cut(completions: torch.Tensor, ends: Sequence[int]) -> list[list[int]]:
    """The token ids of each completion, up to and with its first end token."""
    rows = []
    for row in completions.tolist():
        last = next((index for index, token in enumerate(row) if token in ends), len(row) - 1)
        rows.append(row[: last + 1])
    return rows
