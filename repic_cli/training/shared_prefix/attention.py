"""Attention over a packed row of prompts with branches (see `layout`), in two pieces per prompt.

First the prompt attends to itself, causally; then each branch attends to the prompt and, causally, to itself. No branch
sees another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from repic_cli.training.shared_prefix.backends import FLEX_TOKENS, Attend, fastest, flex
from repic_cli.training.shared_prefix.layout import KEYWORD, Group, Layout

BASES = ("sdpa", "flash_attention_2")
"""Attention implementations that ours can stand in front of."""


def use_shared_attention(model: Any) -> None:
    """Let the language model of `model` understand packed rows. All other forward passes run as they did before."""
    base = model.config.get_text_config()._attn_implementation
    if base in BASES:
        model.set_attn_implementation({"text_config": register(base)})


def register(base: str) -> str:
    """The name of our attention in front of `base`. It holds no "flash": transformers would look for a kernel."""
    name = f"{KEYWORD}_{BASES.index(base)}"
    if name not in ALL_ATTENTION_FUNCTIONS:

        def attend(
            module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any
        ) -> tuple[torch.Tensor, Any]:
            shared = options.pop(KEYWORD, None)
            if shared is None:
                return ALL_ATTENTION_FUNCTIONS[base](module, query, key, value, mask, **options)
            choices = {"scale": options.get("scaling"), "dropout": options["dropout"]}
            out = shared.attend(module.layer_idx, query, key, value, **choices)
            return out.transpose(1, 2), None  # (rows, tokens, heads, size), as transformers wants it

        AttentionInterface.register(name, attend)
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


@dataclass(frozen=True)
class TwoPiece:
    """A packed row's attention, as the keyword `KEYWORD` of `forward`."""

    layout: Layout

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **choices: Any
    ) -> torch.Tensor:
        """Attention of any layer."""
        attend: Attend = two_piece
        if query.device.type == "cuda" and not choices.get("dropout"):
            attend = _chosen(query, key, self.layout)
        return attend(query, key, value, self.layout, **choices)


_CHOICES: dict[tuple[Any, ...], Attend] = {}


def _chosen(query: torch.Tensor, key: torch.Tensor, layout: Layout) -> Attend:
    """The fastest attention on this GPU for such heads. Measured once: a layer that is run again uses the same."""
    like = (query.device, query.dtype, query.shape[1], key.shape[1], query.shape[3])
    if like not in _CHOICES:
        _CHOICES[like] = fastest(two_piece, query, key, layout)
    chosen = _CHOICES[like]
    return two_piece if chosen is flex and layout.tokens > FLEX_TOKENS else chosen


def two_piece(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Attention of a packed row. `query`: (1, heads, N, size); `key`, `value`: (1, key heads, N, size)."""
    pieces = []
    for number, group in enumerate(layout):
        if group.prefix:
            own = [part[:, :, group.start : group.first] for part in (query, key, value)]
            pieces.append(_sdpa(*own, scale=scale, dropout=dropout))
        pieces.append(_branches(query, key, value, layout, number, scale, dropout))
    return torch.cat(pieces, dim=2)


def _branches(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    number: int,
    scale: float | None,
    dropout: float,
) -> torch.Tensor:
    group = layout.groups[number]
    take = layout.index("padded", number, query.device) if group.ragged else None
    keys, values = (
        torch.cat([_prefix(part, group), _rows(part, group, take)], dim=2) for part in (key, value)
    )  # (branches, key heads, prefix + longest, size)
    mask = layout.index("mask", number, query.device)
    out = _sdpa(_rows(query, group, take), keys, values, mask=mask, scale=scale, dropout=dropout)
    out = out.transpose(0, 1).flatten(1, 2).unsqueeze(0)  # (1, heads, branches x longest, size)
    return out[:, :, layout.index("unpadded", number, query.device)] if group.ragged else out


def _prefix(part: torch.Tensor, group: Group) -> torch.Tensor:
    """The prompt's (branches, heads, prefix, size), without a copy."""
    return part[:, :, group.start : group.first].expand(len(group.lengths), -1, -1, -1)


def _rows(part: torch.Tensor, group: Group, take: torch.Tensor | None) -> torch.Tensor:
    """The branches as rows of a batch, padded at their ends: (branches, heads, longest, size)."""
    tokens = part[0, :, group.first : group.end]  # (heads, tokens of all branches, size)
    if take is not None:
        tokens = tokens[:, take]
    return tokens.unflatten(1, (len(group.lengths), -1)).transpose(0, 1)


def _sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Causal without a mask. Fewer key heads than query heads are repeated where a GPU has no kernel for them."""
    shared = query.shape[1] != key.shape[1]
    if shared and mask is not None and query.device.type != "cpu":
        key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for part in (key, value))
        shared = False
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scale, enable_gqa=shared
    )
