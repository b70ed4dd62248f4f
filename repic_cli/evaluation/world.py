"""Measure a model on the embedded world: naming, binding, and the skills it had before.

Everything is greedy and on held-out identities. The samples depend on `seed`, `count` and `split` alone, so two
models measured with the same three see the same pictures and prompts, and their difference can be paired.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from repic_cli.evaluation.scores import CONCEPTS, Measure, WorldScores
from repic_cli.evaluation.slices import Slice, merge, score_slice
from repic_plugins.types import Record, Sample

if TYPE_CHECKING:
    from repic_cli.embedded.world import Split
    from repic_cli.models import Backbone

Progress = Callable[[int, int, str], None]
"""Called with completions done, completions in all, and what is being measured."""

CAPTION_TOKENS, ANSWER_TOKENS = 160, 48


def measure(
    backbone: Backbone,
    *,
    count: int = 256,
    seed: int = 0,
    split: Split = "held_out",
    batch_size: int = 64,
    progress: Progress | None = None,
) -> WorldScores:
    """All measures of `scores.KINDS`, from `count` samples of each of seven kinds (so 7 x `count` completions).

    `seed` fixes the samples. `batch_size` is how many prompts are answered at a time.
    """
    begin = time.perf_counter()
    slices = world_slices(count, seed, split)
    total, done = count * len(slices), 0
    parts: list[dict[str, Measure]] = []
    for part in slices:
        texts = backbone.generate(
            part.samples,
            max_new_tokens=part.max_new_tokens,
            batch_size=batch_size,
            progress=_shifted(progress, done, total, part.what),
        )
        done += len(part.samples)
        parts.append(score_slice(part, texts, backbone.frame))
    info = {
        "model": backbone.name,
        "world": "embedded",
        "split": split,
        "seed": seed,
        "count": count,
        "decoding": "greedy",
        "seconds": round(time.perf_counter() - begin, 1),
    }
    return WorldScores(merge(parts), info)


def world_slices(count: int, seed: int, split: Split = "held_out") -> list[Slice]:
    """The records and prompts of the seven kinds: names of 1, 2 and 4 concepts, OCT, VLT, where, caption."""
    from repic_cli.embedded.lessons import where_sample
    from repic_cli.embedded.records import records
    from repic_plugins.builtin import tasks

    builders: dict[str, Any] = {"ict": tasks.ict(), "oct": tasks.oct(), "vlt": tasks.vlt(), "caption": tasks.caption()}

    def build(record: Record) -> Sample:
        rng = Random(f"{seed}-{record.id}")
        return where_sample(record, rng) if record.task == "where" else builders[record.task].build(record, rng)

    slices = []
    for n in CONCEPTS:
        rows = records("ict", count, seed, split, concepts=n)
        slices.append(Slice(f"ict_{n}", rows, [build(row) for row in rows], CAPTION_TOKENS))
    for kind, length in (("oct", 8), ("vlt", ANSWER_TOKENS), ("where", ANSWER_TOKENS), ("caption", CAPTION_TOKENS)):
        rows = records(kind, count, seed, split)  # type: ignore[arg-type]
        slices.append(Slice(kind, rows, [build(row) for row in rows], length))
    return slices


def _shifted(progress: Progress | None, before: int, total: int, what: str) -> Callable[[int, int], None] | None:
    """The progress of one slice as progress of the whole."""
    if progress is None:
        return None
    tell = progress
    return lambda done, _: tell(before + done, total, what)
