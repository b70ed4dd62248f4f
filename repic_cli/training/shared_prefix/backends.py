"""Ways to compute the attention of a packed row, and which of them a GPU does fastest.

Two-piece SDPA works everywhere and is what a CPU uses. On a GPU there are two more: FlashAttention over pieces of
different lengths (each branch with its prompt's keys before its own), and flex_attention with a block mask (nothing is
copied). Which is fastest depends on the GPU, the head size and the lengths, so it is measured when a run begins, on
tensors of its own shape; one that fails there, or whose numbers are not those of two-piece SDPA, is not used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from repic_cli.training.shared_prefix.layout import Layout

Attend = Callable[..., torch.Tensor]
"""(query, key, value, layout, scale=, dropout=) -> as query; all (1, heads, N, size)."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
"""The largest difference of outputs and gradients from two-piece SDPA, relative to the largest value; else 0.03."""
TRIALS = 3
FLEX_TOKENS = 16384
"""Tokens of a row at most: making a block mask takes memory for each pair."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pieces:
    """Prompts and branches as sequences of different lengths: FlashAttention's terms.

    A branch's keys are those of its prompt and its own: `take` (keys of all pieces,) says which token of the row each
    is. Queries are the row as it is. `queries`, `keys`: (pieces + 1,) int32 bounds.
    """

    take: torch.Tensor
    queries: torch.Tensor
    keys: torch.Tensor
    longest_query: int
    longest_key: int


def pieces(layout: Layout, device: torch.device) -> Pieces:
    """The pieces of a row."""
    take, query_lengths, key_lengths = [], [], []
    for group in layout:
        prefix = torch.arange(group.start, group.first)
        if group.prefix:
            take.append(prefix)
            query_lengths.append(group.prefix)
            key_lengths.append(group.prefix)
        start = group.first
        for length in group.lengths:
            take += [prefix, torch.arange(start, start + length)]
            query_lengths.append(length)
            key_lengths.append(group.prefix + length)
            start += length
    queries, keys = (torch.tensor([0, *some]).cumsum(0).int().to(device) for some in (query_lengths, key_lengths))
    return Pieces(torch.cat(take).to(device), queries, keys, max(query_lengths), max(key_lengths))


def flash_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """FlashAttention per piece. It is causal from the end: a branch's first query sees the prompt and itself."""
    from torch.nn.attention.varlen import varlen_attn

    cut = layout.prepared("pieces", lambda: pieces(layout, query.device))
    asked, keys, values = (part[0].transpose(0, 1) for part in (query, key, value))  # (N, heads, size)
    out = varlen_attn(
        asked.contiguous(),
        keys[cut.take],
        values[cut.take],
        cut.queries,
        cut.keys,
        cut.longest_query,
        cut.longest_key,
        scale=scale,
        window_size=(-1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, torch.Tensor)
    return out.transpose(0, 1)[None]


def block_mask(layout: Layout, device: torch.device) -> Any:
    """flex_attention's mask: a token sees earlier ones of its prompt, and of its branch."""
    from torch.nn.attention.flex_attention import create_block_mask

    prompt = torch.empty(layout.tokens, dtype=torch.long)
    branch = torch.zeros(layout.tokens, dtype=torch.long)  # 0: the prompt itself
    for number, group in enumerate(layout):
        prompt[group.start : group.end] = number
        lengths = torch.tensor(group.lengths)
        branch[group.first : group.end] = torch.arange(1, len(lengths) + 1).repeat_interleave(lengths)
    prompt, branch = prompt.to(device), branch.to(device)

    def sees(_batch: Any, _head: Any, query: Any, key: Any) -> Any:
        of_branch = (branch[key] == 0) | (branch[key] == branch[query])
        return (prompt[query] == prompt[key]) & of_branch & (query >= key)

    return create_block_mask(sees, None, None, layout.tokens, layout.tokens, device=str(device))


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def flex(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """flex_attention with a block mask; compiled on a GPU."""
    from torch.nn.attention.flex_attention import flex_attention

    mask = layout.prepared("block mask", lambda: block_mask(layout, query.device))
    run = _compiled_flex() if query.device.type == "cuda" else flex_attention
    out: torch.Tensor = run(query, key, value, block_mask=mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1])
    return out


CANDIDATES: dict[str, Attend] = {"flash_varlen": flash_varlen, "flex": flex}


def fastest(plain: Attend, query: torch.Tensor, key: torch.Tensor, layout: Layout, *, clock: Any = None) -> Attend:
    """`plain`, or the candidate that is faster and gives the same numbers; tried on random tensors like these."""
    generator = torch.Generator(query.device).manual_seed(0)

    def like(tensor: torch.Tensor) -> torch.Tensor:
        made = torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)
        return made.requires_grad_()

    parts = (like(query), like(key), like(key))
    weights = like(query).detach()
    expected, best = trial(plain, parts, weights, layout, clock)
    chosen = plain
    for name, attend in CANDIDATES.items():
        try:
            found, seconds = trial(attend, parts, weights, layout, clock)
        except Exception as error:  # a kernel that is not there fails in ways of its own
            log.info("attention %s is not used: %s", name, error)
            continue
        far = distance(found, expected)
        if far > TOLERANCE.get(query.dtype, 0.03):
            log.info("attention %s is not used: it differs from two-piece SDPA by %.1e", name, far)
        elif seconds < best:
            chosen, best = attend, seconds
    log.info("attention of shared prompts: %s, %.2f ms a layer", getattr(chosen, "__name__", chosen), best * 1e3)
    return chosen


def trial(
    attend: Attend, parts: tuple[torch.Tensor, ...], weights: torch.Tensor, layout: Layout, clock: Any = None
) -> tuple[list[torch.Tensor], float]:
    """Output and gradients, and the least seconds of forward and backward."""
    now = clock or _seconds
    best, found = float("inf"), list[torch.Tensor]()
    with torch.enable_grad():
        for _ in range(TRIALS + 1):  # the first one compiles
            begin = now()
            out = attend(*parts, layout)
            grads = torch.autograd.grad(out, parts, weights)
            best = min(best, now() - begin)
            found = [out.detach(), *grads]
    return found, best


def _seconds() -> float:
    """When the GPU has done what it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def distance(mine: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """The largest difference, relative to the largest value of each tensor."""
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-6)) for a, b in zip(mine, theirs, strict=True))
