"""FSDP2 over two processes on a CPU: packed passes of a sharded model against stock passes of a whole one.

A script for `torchrun`: `_sharded.py MODEL`. (accelerate sets FSDP up on GPUs only, so torch's own call is used.) Each
process has another prompt; FSDP averages their gradients.
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForImageTextToText
from trl.trainer.utils import add_fused_lm_head

from repic_cli.training.shared_prefix.attention import use_shared_attention
from repic_cli.training.shared_prefix.forward import Rows, body_of, shared_logps
from repic_cli.training.shared_prefix.pictures import Picture, pixels_of

LENGTHS = (3, 6, 5)


def rows_of(rank: int, image: int) -> Rows:
    """A prompt with a picture of 16 patches, and three completions."""
    generator = torch.Generator().manual_seed(rank)
    picture = Picture(0, b"", torch.randn(16, 3 * 2 * 14 * 14, generator=generator), (1, 4, 4))
    prompt = [5, *[image] * 4, *torch.randint(10, 800, (3 + rank,), generator=generator).tolist()]
    ids, mask, kinds = [], [], []
    for length in LENGTHS:
        answer = torch.randint(10, 800, (length,), generator=generator).tolist()
        behind = [0] * (max(LENGTHS) - length)
        ids.append(prompt + answer + behind)
        mask.append([1] * len(prompt + answer) + behind)
        kinds.append([int(token == image) for token in prompt] + [0] * max(LENGTHS))
    tensors = (torch.tensor(values) for values in (ids, mask, kinds))
    input_ids, attention_mask, types = tensors
    return Rows(input_ids, attention_mask, max(LENGTHS), types, [[picture]] * len(LENGTHS))


def weighted(logps: torch.Tensor) -> torch.Tensor:
    return (logps * torch.linspace(0.3, 1.7, logps.numel()).view_as(logps)).sum()


def stock_loss(model: torch.nn.Module, rows: Rows) -> torch.Tensor:
    labels = rows.input_ids.masked_fill(rows.attention_mask == 0, -100)
    labels[:, : rows.width] = -100
    pixels = pixels_of([picture for row in rows.pictures for picture in row], "cpu")
    inputs = {"input_ids": rows.input_ids, "attention_mask": rows.attention_mask, "mm_token_type_ids": rows.kinds}
    outputs = model(**inputs, **pixels, labels=labels, fused_lm_head=True)
    return weighted(outputs.log_probs[:, -rows.completion :])


def main(folder: str) -> None:
    dist.init_process_group("gloo")
    model = AutoModelForImageTextToText.from_pretrained(folder).train()
    add_fused_lm_head(model)
    use_shared_attention(model)
    image = model.config.image_token_id
    batches = [rows_of(rank, image) for rank in range(dist.get_world_size())]
    for batch in batches:
        (stock_loss(model, batch) / len(batches)).backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in body_of(model).language_model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    mine = batches[dist.get_rank()]
    found = shared_logps(model, body_of(model), mine, [range(len(LENGTHS))], lambda shown: pixels_of(shown, "cpu"))
    assert found is not None
    weighted(found[0]).backward()
    seen = 0
    for name, weight in model.named_parameters():
        if name in expected:
            grad, theirs = weight.grad.full_tensor(), expected[name]
            assert float((grad - theirs).norm()) <= 1e-4 * float(theirs.norm()) + 1e-6, name
            seen += 1
    assert seen == len(expected) > 20
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
