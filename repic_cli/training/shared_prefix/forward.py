"""Log-probabilities and entropies of completions, each prompt computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from repic_cli.training.shared_prefix.attention import TwoPiece
from repic_cli.training.shared_prefix.layout import KEYWORD
from repic_cli.training.shared_prefix.packing import pack

if TYPE_CHECKING:
    from repic_cli.training.shared_prefix.pictures import Picture


@dataclass(frozen=True)
class Rows:
    """Completions as TRL has them, one per row.

    `input_ids`, `attention_mask`: (B, P + C), prompts left-padded, completions right-padded to `completion` = C.
    `kinds`: (B, P + C), 1 where a picture token stands (`mm_token_type_ids`), None without pictures. `pictures`: those
    of each row.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    completion: int
    kinds: torch.Tensor | None
    pictures: Sequence[Sequence[Picture]]

    @property
    def width(self) -> int:
        """Columns of the prompts."""
        return self.input_ids.shape[1] - self.completion

    def part(self, start: int, end: int) -> Rows:
        """Some of the rows."""
        kinds = None if self.kinds is None else self.kinds[start:end]
        some = self.pictures[start:end]
        return Rows(self.input_ids[start:end], self.attention_mask[start:end], self.completion, kinds, some)

    def prompts(self) -> list[object]:
        """For each row what its prompt is, pictures included; equal for equal prompts."""
        ids = self.input_ids[:, : self.width].tolist()
        pads = (self.width - self.attention_mask[:, : self.width].sum(1)).tolist()
        keys = [tuple(picture.key for picture in row) for row in self.pictures]
        return [(tuple(row[pad:]), key) for row, pad, key in zip(ids, pads, keys, strict=True)]


def body_of(model: Any) -> Any:
    """The vision-language body of a model, under adapters and the language model head."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.model


def prompt_positions(body: Any, rows: Rows, row: int) -> torch.Tensor:
    """(3, tokens) rotary positions of a row's prompt, without its padding."""
    width = rows.width
    real = rows.attention_mask[row, :width].bool()
    ids = rows.input_ids[row, :width][real]
    if not rows.pictures[row]:
        return torch.arange(len(ids), device=ids.device).expand(3, -1)
    if rows.kinds is None:
        raise ValueError("pictures without `mm_token_type_ids`: which tokens are theirs is not known")
    grid = torch.tensor([picture.grid for picture in rows.pictures[row]], device=ids.device)
    found, _ = body.get_rope_index(
        ids[None], mm_token_type_ids=rows.kinds[row, :width][real][None], image_grid_thw=grid
    )
    positions: torch.Tensor = found[:, 0]
    return positions


def shared_logps(
    model: Any, body: Any, rows: Rows, groups: Sequence[range], see: Any
) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Log-probabilities and entropies (B, C) in one forward pass of `model`; None if no completion has a token.

    `body`: the vision-language body inside `model`. `groups`: rows of one prompt each. `see(pictures)` gives the
    keywords of `forward` that hold these pictures. Entropies are None where the model does not compute them.
    """
    positions = [prompt_positions(body, rows, group[0]) for group in groups]
    packed = pack(rows.input_ids, rows.attention_mask, rows.completion, groups, positions)
    if packed is None:
        return None
    pictures = [picture for row in packed.prompts for picture in rows.pictures[row]]
    outputs = model(
        input_ids=packed.input_ids,
        position_ids=packed.position_ids,
        shift_labels=packed.labels,
        fused_lm_head=True,
        **{KEYWORD: TwoPiece(packed.layout)},
        **(see(pictures) if pictures else {}),
    )
    shape = (len(rows.input_ids), rows.completion)
    entropies = None if outputs.entropy is None else packed.unpack(outputs.entropy, *shape)
    return packed.unpack(outputs.log_probs, *shape), entropies
