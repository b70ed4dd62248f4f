"""`repic train --dry-run`: everything but the training. Rewards, data and prompts are real; no weight is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repic_cli.data.prompts import Prompts
from repic_cli.training.memory import Memory, estimate, outline
from repic_cli.training.plan import Plan, make_plan
from repic_cli.training.prepare import check_prompts
from repic_cli.training.scorer import prompt_text
from repic_plugins.errors import ModelError, OptionError
from repic_plugins.scoring import close_rewards, score_batch
from repic_plugins.types import Box, BoxFrame, ImageRef, Names, Rollout, Sample, YesNo

if TYPE_CHECKING:
    from repic_cli.config_sections import RunConfig, TrainSection
    from repic_plugins.registry import PluginRegistry

PROBES = 8
"""Samples of each task that are scored."""
Frame = Callable[[ImageRef], BoxFrame]
Scores = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class DryRun:
    """What a run would do. `scores`: task -> reward -> the mean for `true` answers and for `empty` completions."""

    plan: Plan
    scores: Scores
    example: str
    memory: Memory | None
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        plan, schedule = self.plan, self.plan.schedule
        found = ", ".join(f"{number} {task}" for task, number in sorted(plan.loaded.tasks.items()))
        epochs = schedule.rows / len(plan.records)
        lines = [
            f"model    {plan.config.model.name}",
            f"data     {plan.config.data.source}: {len(plan.records)} records ({found})",
            f"rewards  {', '.join(f'{reward.name} x {reward.weight:g}' for reward in plan.rewards)}",
            f"steps    {schedule.steps}, each of {schedule.prompts} prompts x {schedule.completions} completions "
            f"({epochs:.2f} epochs, {schedule.processes} process{'es' if schedule.processes > 1 else ''})",
            *(f"memory   {line}" for line in (self.memory.lines() if self.memory else [])),
            "scores   mean for the true answer / for an empty completion",
        ]
        for task, rewards in self.scores.items():
            values = ", ".join(f"{name} {value['true']:.2f} / {value['empty']:.2f}" for name, value in rewards.items())
            lines.append(f"         {task}: {values}")
        lines += ["example", *(f"         {line}" for line in self.example.splitlines())]
        return lines + [f"note     {note}" for note in self.notes]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        schedule = self.plan.schedule
        return {
            "dry_run": True,
            "model": self.plan.config.model.name,
            "data": {"source": self.plan.config.data.source, "records": dict(self.plan.loaded.tasks)},
            "rewards": {reward.name: reward.weight for reward in self.plan.rewards},
            "steps": schedule.steps,
            "prompts_per_step": schedule.prompts,
            "completions_per_prompt": schedule.completions,
            "processes": schedule.processes,
            "scores": self.scores,
            "memory_bytes": self.memory.total if self.memory else None,
            "trained_parameters": self.memory.trained if self.memory else None,
            "notes": list(self.notes),
        }


def dry_run(config: RunConfig, registry: PluginRegistry, processes: int = 1) -> DryRun:
    """Resolve a run and try its rewards. Raises what `train` would raise, but for a model that is not at hand: that is
    a note."""
    processes, notes = enough_processes(config, processes)
    notes = not_shared(config.train) + notes
    plan = make_plan(config, registry, processes)
    try:
        frame: Frame = _plain_frame
        memory = None
        try:
            plan, frame, memory = _with_model(plan, registry)
        except ModelError as error:
            notes.append(f"not checked against the model: {error}")
        samples = _probes(plan)
        scores = _score(plan, samples, frame)
        return DryRun(plan, scores, prompt_text(samples[0]), memory, (*plan.notes, *notes))
    finally:
        close_rewards(plan.rewards)


def enough_processes(config: RunConfig, processes: int) -> tuple[int, list[str]]:
    """The least multiple of `processes` whose step makes whole groups, and a note when that is more than were asked.

    So a run that is meant for several GPUs can be looked at without them.
    """
    train = config.train
    step = train.per_device_batch_size * train.gradient_accumulation * processes
    times = train.num_generations // math.gcd(train.num_generations, step)
    if times == 1:
        return processes, []
    needed, accumulation = processes * times, train.gradient_accumulation * times
    note = (
        f"a step of {step} completions on {processes} process{'es' if processes > 1 else ''} makes no whole groups of "
        f"{train.num_generations}: this is the plan for {needed} (accelerate launch --num_processes {needed} ...); on "
        f"{processes} give --set train.gradient_accumulation={accumulation}"
    )
    return needed, [note]


def not_shared(train: TrainSection) -> list[str]:
    """A note if prompts are not shared, as far as the model need not be known; `OptionError` if they must be."""
    from repic_cli.training.shared_prefix.support import apart, untested

    why = untested() or apart(train.per_device_batch_size, train.num_generations)
    if why is None or train.shared_prefix == "off":
        return []
    if train.shared_prefix == "on":
        raise OptionError(f"--shared-prefix on: {why}")
    return [f"prompts are not shared: {why}; stock TRL is used"]


def render_answer(sample: Sample, frame: Frame) -> str:
    """A completion that is right, as far as a fixed sentence can be."""
    answer = sample.answer
    if isinstance(answer, YesNo):
        return "Yes" if answer.value else "No"
    if isinstance(answer, Box):
        return str([round(value) for value in _written(answer, frame(sample.images[-1]))])
    if isinstance(answer, Names):
        named = " and ".join(f"<{name}>" for name in answer.required)
        return (
            f"The picture shows {named} in front of a quiet background, seen from nearby and in good light all around."
        )
    return ""


def _written(box: Box, frame: BoxFrame) -> tuple[float, float, float, float]:
    """A box as the model writes it."""
    scale = {"per_mille": 1000, "per_999": 999, "loc1024": 1024}.get(frame.convention)
    width, height = (scale, scale) if scale else frame.seen
    x, y = width / frame.original[0], height / frame.original[1]
    return box.x1 * x, box.y1 * y, box.x2 * x, box.y2 * y


def _plain_frame(image: ImageRef) -> BoxFrame:
    return BoxFrame("pixels", image.size, image.size)


def _with_model(plan: Plan, registry: PluginRegistry) -> tuple[Plan, Frame, Memory]:
    from repic_cli.models.backbone import Backbone
    from repic_cli.models.families import family_of
    from repic_cli.models.load import load_config, load_processor, locate, set_pixel_bounds

    model = plan.config.model
    source = locate(model.name)
    config, processor = load_config(source), load_processor(source)
    set_pixel_bounds(processor, model.min_pixels, model.max_pixels, source.name)
    plan = check_prompts(plan, processor)
    backbone = Backbone(None, processor, family_of(config.model_type, registry), source.name, source.embedded)
    longest = max(backbone.encode([sample])["input_ids"].shape[1] for sample in _probes(plan))
    return plan, backbone.frame, estimate(plan.config, outline(config), longest)


def _probes(plan: Plan) -> list[Sample]:
    """The first samples of each task, in the order of the first epoch."""
    prompts = Prompts(plan.records, plan.tasks, len(plan.records), plan.config.data.seed)
    taken = dict.fromkeys(plan.loaded.tasks, 0)
    chosen = []
    for row in range(len(prompts)):
        task = prompts.record(row).task
        if taken[task] < PROBES:
            taken[task] += 1
            chosen.append(prompts[row])
    return chosen


def _score(plan: Plan, samples: Sequence[Sample], frame: Frame) -> dict[str, dict[str, dict[str, float]]]:
    import numpy as np

    found: dict[str, dict[str, dict[str, float]]] = {}
    for what in ("true", "empty"):
        texts = [render_answer(sample, frame) if what == "true" else "" for sample in samples]
        rollouts = [_rollout(sample, text, frame) for sample, text in zip(samples, texts, strict=True)]
        scores = score_batch(plan.rewards, rollouts, timeout=plan.config.rewards.timeout)
        for task in dict.fromkeys(sample.task for sample in samples):
            rows = [row for row, sample in enumerate(samples) if sample.task == task]
            for name in scores.names:
                values = scores.column(name)[rows]
                if not np.isnan(values).all():
                    found.setdefault(task, {}).setdefault(name, {})[what] = round(float(np.nanmean(values)), 4)
    return {
        task: {name: {"true": 0.0, "empty": 0.0} | both for name, both in row.items()} for task, row in found.items()
    }


def _rollout(sample: Sample, text: str, frame: Frame) -> Rollout:
    return Rollout(
        sample_id=sample.id,
        task=sample.task,
        prompt=prompt_text(sample),
        completion=text,
        completion_tokens=len(text.split()),
        answer=sample.answer,
        images=sample.images,
        frame=frame(sample.images[-1]) if sample.images else None,
        meta=sample.meta,
    )
