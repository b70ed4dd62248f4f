"""The model card that lies beside an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repic_cli.models import Backbone
    from repic_cli.training.plan import Plan

_TEXT = """\
---
library_name: peft
pipeline_tag: image-text-to-text
base_model: {base}
tags:
- repic
- grpo
- lora
---

# Adapter for personalised captions

A LoRA adapter for `{base}`, post-trained with `repic train` by reinforcement learning (GRPO) with verifiable rewards.

| | |
|---|---|
| base model | `{base}` |
| rewards | {rewards} |
| data | {data} |
| steps | {steps}, {prompts} prompts x {completions} completions each |
| LoRA | r {r}, alpha {alpha}, dropout {dropout}, on the language model only |
| learning rate, KL weight | {rate:g} ({scheduler}), {beta:g} |
| seed | {seed} |

## Rewards over the run

| reward | first steps | last steps |
|---|---|---|
{table}

Means of a batch while training with sampled completions, not an evaluation.

## Use

    repic caption picture.jpg --db mydb/ {model}--adapter {folder}

or without repic:

    from peft import PeftModel
    from transformers import AutoModelForImageTextToText
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained("{load}"), "{folder}")
{caution}"""

_TOY = """
`FOLDER` is what `repic embedded show` prints. The base is the toy model that ships with repic: it knows a procedural
world of coloured shapes and is of no use for photographs.
"""


EMBEDDED_FOLDER = "FOLDER"
"""Where the embedded model lies differs from machine to machine; `repic embedded show` tells it."""


def model_card(plan: Plan, backbone: Backbone, steps: int, trend: dict[str, tuple[float, float]], folder: str) -> str:
    """Markdown with the metadata of the Hub. `trend`: reward -> its mean in the first and in the last steps."""
    config = plan.config
    values: dict[str, Any] = {
        "base": backbone.name,
        "rewards": ", ".join(_reward(reward) for reward in plan.rewards),
        "data": f"{config.data.source}: " + ", ".join(f"{n} {task}" for task, n in sorted(plan.loaded.tasks.items())),
        "steps": steps,
        "prompts": plan.schedule.prompts,
        "completions": plan.schedule.completions,
        "r": config.lora.r,
        "alpha": config.lora.alpha,
        "dropout": config.lora.dropout,
        "rate": config.train.learning_rate,
        "scheduler": config.train.scheduler,
        "beta": config.train.beta,
        "seed": config.train.seed,
        "table": "\n".join(f"| {name} | {first:.3f} | {last:.3f} |" for name, (first, last) in trend.items()),
        "folder": folder,
        "model": "" if backbone.embedded else f"--model {backbone.name} ",
        "load": EMBEDDED_FOLDER if backbone.embedded else backbone.name,
        "caution": _TOY if backbone.embedded else "",
    }
    return _TEXT.format(**values)


def _reward(reward: Any) -> str:
    options = ", ".join(f"{key}={value}" for key, value in reward.options.items())
    weight = "" if reward.weight == 1 else f" x {reward.weight:g}"
    return f"{reward.name}{weight}" + (f" ({options})" if options else "")
