"""Shares of tasks: whole numbers from weights, and a draw that follows them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import TypeVar

from repic_plugins.types import Record

K = TypeVar("K", bound=Hashable)


def apportion(count: int, weights: Mapping[K, float], limits: Mapping[K, int] | None = None) -> dict[K, int]:
    """`count` split by weight into whole numbers that add up to it (largest remainders, first key first).

    `limits` bounds the share of a key; what it cannot take goes to the others, so that the sum falls short of `count`
    only if all limits are reached. Keys of weight 0 get nothing.
    """
    shares = {key: 0 for key, weight in weights.items() if weight > 0}
    bounds = {key: count if limits is None else limits.get(key, 0) for key in shares}
    open_keys = [key for key in shares if bounds[key] > 0]
    left = min(count, sum(bounds.values()))
    while left > 0:
        total = sum(weights[key] for key in open_keys)
        exact = {key: left * weights[key] / total for key in open_keys}
        whole = {key: int(exact[key] + 1e-9) for key in open_keys}
        for key in sorted(open_keys, key=lambda key: whole[key] - exact[key])[: left - sum(whole.values())]:
            whole[key] += 1
        for key in open_keys:
            taken = min(whole[key], bounds[key] - shares[key])
            shares[key] += taken
            left -= taken
        open_keys = [key for key in open_keys if shares[key] < bounds[key]]
    return shares


def draw(records: Sequence[Record], count: int, mix: Mapping[str, float], seed: int) -> list[Record]:
    """At most `count` of the records in their own order; if there are more, a seeded draw whose tasks follow `mix`."""
    if len(records) <= count:
        return list(records)
    by_task: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        by_task.setdefault(record.task, []).append(index)
    weights = {task: mix.get(task, 0.0) for task in by_task}
    shares = apportion(count, weights, {task: len(rows) for task, rows in by_task.items()})
    rng = Random(f"draw-{seed}")
    chosen = [index for task, share in shares.items() for index in rng.sample(by_task[task], share)]
    return [records[index] for index in sorted(chosen)]
