"""Every way to attend gives the numbers of two-piece SDPA; the choice among them leaves wrong and broken ones out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from repic_cli.training.shared_prefix import backends
from repic_cli.training.shared_prefix.attention import two_piece
from repic_cli.training.shared_prefix.backends import flash_varlen, flex, pieces, trial
from repic_cli.training.shared_prefix.layout import Layout, lay_out

LAYOUTS = {
    "one prompt": [(40, [16, 16, 16])],
    "ragged, three prompts": [(33, [1, 9, 30]), (1, [4]), (70, [12, 12])],
}


def tensors(layout: Layout, dtype: torch.dtype, device: str = "cpu", heads: int = 4) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator(device).manual_seed(1)
    shapes = [(1, count, layout.tokens, 64) for count in (heads, heads // 2, heads // 2)]
    return tuple(torch.randn(shape, generator=generator, device=device, dtype=dtype) for shape in shapes)


@pytest.mark.parametrize("name", LAYOUTS)
def test_flex_attention_forward(name: str) -> None:
    """On a CPU flex_attention has no backward pass; its mask can be checked there all the same."""
    layout = lay_out(LAYOUTS[name])
    query, key, value = tensors(layout, torch.float64)
    expected = two_piece(query, key, value, layout, scale=0.2)
    torch.testing.assert_close(flex(query, key, value, layout, scale=0.2), expected)


@pytest.mark.parametrize("name", LAYOUTS)
def test_pieces_are_what_each_token_may_see(name: str) -> None:
    """What FlashAttention is given, computed one piece at a time."""
    layout = lay_out(LAYOUTS[name])
    query, key, value = tensors(layout, torch.float64)
    cut = pieces(layout, query.device)
    found = []
    for (start, end), (first, last) in zip(
        torch.stack([cut.queries[:-1], cut.queries[1:]], 1).tolist(),
        torch.stack([cut.keys[:-1], cut.keys[1:]], 1).tolist(),
        strict=True,
    ):
        take = cut.take[first:last]
        mask = torch.ones(end - start, last - first, dtype=torch.bool).tril(last - first - (end - start))
        found.append(
            torch.nn.functional.scaled_dot_product_attention(
                query[:, :, start:end], key[:, :, take], value[:, :, take], attn_mask=mask, enable_gqa=True
            )
        )
    torch.testing.assert_close(torch.cat(found, dim=2), two_piece(query, key, value, layout))
    assert (cut.longest_query, cut.longest_key) == (max(cut.queries.diff().tolist()), max(cut.keys.diff().tolist()))


def test_the_fastest_right_one_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = lay_out(LAYOUTS["ragged, three prompts"])
    query, key, _ = tensors(layout, torch.float32)
    now = [0.0]

    def taking(seconds: float, attend: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> torch.Tensor:
            now[0] += seconds
            result: torch.Tensor = attend(*args, **kwargs)
            return result

        return run

    def wrong(*args: Any, **kwargs: Any) -> torch.Tensor:
        return two_piece(*args, **kwargs) * 1.01

    def broken(*args: Any, **kwargs: Any) -> torch.Tensor:
        raise RuntimeError("no kernel image is available")

    plain = taking(3, two_piece)
    right, slow = taking(2, two_piece), taking(4, two_piece)
    candidates = {"wrong": taking(1, wrong), "broken": broken, "right": right, "slow": slow}
    monkeypatch.setattr(backends, "CANDIDATES", candidates)
    assert backends.fastest(plain, query, key, layout, clock=lambda: now[0]) is right
    monkeypatch.setattr(backends, "CANDIDATES", {"wrong": taking(1, wrong), "slow": slow})
    assert backends.fastest(plain, query, key, layout, clock=lambda: now[0]) is plain


@pytest.mark.gpu
@pytest.mark.parametrize("attend", [flash_varlen, flex])
@pytest.mark.parametrize("name", LAYOUTS)
def test_on_a_gpu(name: str, attend: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device: these kernels exist on GPUs only")
    layout = lay_out(LAYOUTS[name])
    parts = tuple(part.requires_grad_() for part in tensors(layout, torch.bfloat16, "cuda"))
    weights = torch.randn_like(parts[0])
    found, expected = (trial(one, parts, weights, layout)[0] for one in (attend, two_piece))
    assert backends.distance(found, expected) < 0.03
