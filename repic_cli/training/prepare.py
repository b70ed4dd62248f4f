"""Checks of the prompts that need the model's processor, done before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from repic_cli.data.prompts import Prompts
from repic_cli.models.prompts import render
from repic_cli.training.plan import Plan
from repic_plugins.errors import DataError
from repic_plugins.types import Record, Sample


def check_prompts(plan: Plan, processor: Any) -> Plan:
    """Render every prompt of the run once; the plan without the records whose prompt is too long.

    Raises `DataError` if a text holds one of the model's special tokens, or if no record is left.
    """
    limit = plan.config.train.max_prompt_length
    if limit is not None:
        long = {record.id for record, sample in _first_epoch(plan) if text_tokens(processor, sample) > limit}
        if len(long) == len(plan.records):
            raise DataError(f"every prompt has more than train.max_prompt_length = {limit} text tokens")
        if long:
            plan = plan.without(long, f"{len(long)} prompts have more than {limit} text tokens: left out")
    prompts = plan.prompts
    for row in range(len(prompts)):
        render(processor, prompts[row])
    return plan


def _first_epoch(plan: Plan) -> Iterable[tuple[Record, Sample]]:
    prompts = Prompts(plan.records, plan.tasks, len(plan.records), plan.config.data.seed)
    return [(prompts.record(row), prompts[row]) for row in range(len(prompts))]


def text_tokens(processor: Any, sample: Sample) -> int:
    """Tokens of a prompt, each picture's placeholder counted as one."""
    ids: Sequence[int] = processor.tokenizer(render(processor, sample))["input_ids"]
    return len(ids)
