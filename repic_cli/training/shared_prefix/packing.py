"""From TRL's padded rows, one per completion, to one packed row, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from repic_cli.training.shared_prefix.layout import Layout, lay_out

IGNORED = -100
"""The label of positions whose prediction is not asked for."""


@dataclass(frozen=True)
class Packed:
    """One forward pass. `input_ids`, `labels`: (1, N), labels as `shift_labels`; `position_ids`: (3, 1, N).

    `places`: (tokens of all completions,) where each lies in the flattened (rows, C) of the completions; in the order
    of the labels that count. `prompts`: the first row of each group.
    """

    layout: Layout
    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    places: torch.Tensor
    prompts: tuple[int, ...]

    def unpack(self, values: torch.Tensor, rows: int, width: int) -> torch.Tensor:
        """(1, N) values per label -> (rows, width), 0 where there is no completion token."""
        found = values[self.labels != IGNORED]
        return found.new_zeros(rows * width).scatter(0, self.places, found).view(rows, width)


def runs(rows: Sequence[object]) -> list[range]:
    """Neighbouring equal rows, as ranges of row numbers."""
    found, start = [], 0
    for _, members in groupby(rows):
        end = start + sum(1 for _ in members)
        found.append(range(start, end))
        start = end
    return found


def pack(
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion: int,
    groups: Sequence[range],
    positions: Sequence[torch.Tensor],
) -> Packed | None:
    """Pack rows of left-padded prompts and right-padded completions; None if all completions are empty.

    `input_ids`, `attention_mask`: (B, P + C), of which the last `completion` columns are C. `groups`: rows of one
    prompt each. `positions`: (3, tokens) of each group's prompt. Completions of no token take no part.
    """
    width = input_ids.shape[1] - completion
    lengths = attention_mask[:, width:].sum(1).tolist()
    prompts = attention_mask[:, :width].sum(1).tolist()
    kept = [(rows, where) for rows, where in zip(groups, positions, strict=True) if any(lengths[row] for row in rows)]
    if not kept:
        return None
    tokens, labels, places, places_of_tokens, laid = [], [], [], [], []
    for rows, where in kept:
        prompt = prompts[rows[0]]
        filled = [row for row in rows if lengths[row]]
        laid.append((prompt, [lengths[row] for row in filled]))
        tokens.append(input_ids[rows[0], width - prompt : width - 1])
        labels.append(torch.full_like(tokens[-1], IGNORED))
        places_of_tokens.append(where[:, :-1])
        for row in filled:
            end = width + lengths[row]
            tokens.append(input_ids[row, width - 1 : end - 1])
            labels.append(input_ids[row, width:end])
            steps = torch.arange(lengths[row], device=where.device)
            places_of_tokens.append(where[:, -1:] + steps)
            places.append(row * completion + steps)
    return Packed(
        lay_out(laid),
        torch.cat(tokens)[None],
        torch.cat(labels)[None],
        torch.cat(places_of_tokens, dim=1)[:, None],
        torch.cat(places).to(input_ids.device),
        tuple(rows[0] for rows, _ in kept),
    )
