"""The sections of a run's configuration: what can be set, its type and its default.

`repic_cli.config` reads the layers and puts them together.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from repic_cli.toml_text import NONE, to_toml
from repic_plugins.errors import OptionError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo"]
Scheduler = Literal["constant", "constant_with_warmup", "linear", "cosine"]


class Section(BaseModel):
    """A table of the configuration: immutable, refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _read_none(cls, values: Any) -> Any:
        """TOML and `--set` have no null: the word `none` is one wherever a value may be missing."""
        if not isinstance(values, dict):
            return values
        return {key: None if _means_none(cls, key, value) else value for key, value in values.items()}


def _means_none(section: type[BaseModel], key: str, value: object) -> bool:
    field = section.model_fields.get(key)
    optional = field is not None and type(None) in get_args(field.annotation)
    return optional and isinstance(value, str) and value.lower() in (NONE, "null")


class ModelSection(Section):
    """Which model, and how it is loaded."""

    name: Annotated[str, Field(min_length=1)] = "embedded"
    """`embedded`, a local folder, or a Hugging Face id."""
    adapter: str | None = None
    """A PEFT adapter to start from."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    attn_implementation: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    """Bounds of a picture's area after the processor resized it, in pixels. None: as the model ships."""


class LoraSection(Section):
    """The adapter that is trained. It is put on the language model only; the vision tower stays frozen."""

    r: Count = 64
    alpha: Count = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Last parts of the names of the language model's linear layers."""

    @field_validator("targets", mode="before")
    @classmethod
    def _split_targets(cls, value: Any) -> Any:
        return _words(value)


class DataSection(Section):
    """What is trained on."""

    source: Annotated[str, Field(min_length=1)] = "embedded"
    """`embedded`, a record file (JSONL), a folder of `repic data build`, or one with a sub-folder per concept."""
    count: Count = 2000
    mix: dict[str, NotNegative] = Field(default_factory=lambda: {"oct": 0.25, "vlt": 0.25, "ict": 0.5})
    """Task -> weight of its share of the samples. A layer that gives this table replaces it whole."""
    references: dict[Annotated[int, Field(ge=1)], NotNegative] = Field(default_factory=lambda: {1: 0.5, 2: 0.3, 3: 0.2})
    """Reference pictures in a prompt that names concepts -> weight. A layer that gives it replaces it whole."""
    absent: Share = 0.0
    """Share of the prompts with fewer than `max_references` references that show one more, not in the picture."""
    strangers: Share = 0.2
    """Share of the naming prompts whose picture also has an object that no reference shows."""
    max_references: Count = 3
    """The most reference pictures of a prompt. The paper trains with at most 3."""
    templates: Path | None = None
    """A TOML file with instruction templates, in place of the tasks' own."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Task -> its options."""
    seed: Seed = 2024

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        for key, weights in (("mix", self.mix), ("references", self.references)):
            if not weights or not sum(weights.values()) > 0:
                raise ValueError(f"{key} needs at least one weight above 0")
        over = [number for number in self.references if number > self.max_references]
        if over:
            raise ValueError(f"references.{max(over)} is more than max_references = {self.max_references}")
        return self


class RewardsSection(Section):
    """What is paid for. Rewards are plugins: see `repic rewards list`."""

    selection: Annotated[str, Field(min_length=1)] = "oct,vlt,ict"
    """Names with optional weights, `oct,vlt,length=0.2`. Weight 0 logs only."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Reward -> its options; checked against the reward's factory."""
    on_error: Literal["stop", "skip"] = "stop"
    timeout: Positive = 60.0
    """Seconds that an asynchronous reward may take for a batch."""

    @field_validator("selection", mode="before")
    @classmethod
    def _join_selection(cls, value: Any) -> Any:
        """A list of names, or a table of weights, as one line."""
        if isinstance(value, dict):
            value = [f"{name}={weight}" for name, weight in value.items()]
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else value

    @property
    def names(self) -> tuple[str, ...]:
        """The selected names without their weights."""
        return tuple(part.split("=")[0].strip() for part in self.selection.split(",") if part.strip())

    def option_lines(self) -> list[str]:
        """The options as `repic_plugins.options.parse_options` reads them: `["ict.min_chars=100"]`."""
        return [f"{name}.{key}={value}" for name, table in self.options.items() for key, value in table.items()]


class TrainSection(Section):
    """GRPO, the optimiser, and what is written while training."""

    max_steps: Count | None = None
    """Optimiser steps. None: as many as `epochs` make."""
    epochs: Positive = 1.0
    learning_rate: Positive = 1e-5
    scheduler: Scheduler = "linear"
    warmup: Share = 0.0
    """Share of the steps during which the learning rate rises."""
    weight_decay: NotNegative = 0.0
    max_grad_norm: NotNegative = 1.0
    beta: NotNegative = 0.04
    """Weight of the KL divergence to the base model (paper Eq. 1)."""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Clip range of the probability ratio (paper Eq. 1)."""
    num_generations: Annotated[int, Field(ge=2)] = 8
    """Completions per prompt: the group, G of the paper."""
    num_iterations: Count = 1
    scale_rewards: Literal["group", "batch", "none"] = "group"
    loss_type: LossType = "grpo"
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_completion_length: Count = 256
    """Tokens of a completion at most."""
    max_prompt_length: Count | None = None
    """Text tokens of a prompt at most; picture tokens are not counted."""
    per_device_batch_size: Count = 1
    """Completions, not prompts, per process and forward pass."""
    gradient_accumulation: Count = 1
    bf16: bool = False
    gradient_checkpointing: bool = False
    shared_prefix: Literal["auto", "on", "off"] = "auto"
    """Compute each prompt once for all of its completions: where it can be done, always (or stop), or never."""
    feature_cache: Annotated[int, Field(ge=0)] = 0
    """MiB for what the frozen vision tower made of pictures, kept from epoch to epoch. 0: kept for a batch only. A run
    that was interrupted then goes on with the same numbers but for rounding."""
    feature_cache_folder: Path | None = None
    """Keep it as files there, for later runs too. None: in memory."""
    logging_steps: Count = 1
    log_completions: Annotated[int, Field(ge=0)] = 4
    """Sample completions that are kept per logged step."""
    save_steps: Count = 100
    save_limit: Count | None = None
    report_to: tuple[str, ...] = ()
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_feature_cache(self) -> Self:
        if self.feature_cache_folder is not None and not self.feature_cache:
            raise ValueError("feature_cache_folder needs feature_cache, the MiB that it may hold")
        return self

    @field_validator("report_to", mode="before")
    @classmethod
    def _split_report_to(cls, value: Any) -> Any:
        words = _words(value)
        return () if words in (None, [NONE]) else words


class VllmSection(Section):
    """Completions sampled by vLLM, on GPUs. The prompt is still shared in the update."""

    mode: Literal["off", "colocate", "server"] = "off"
    """`colocate`: on the GPUs that train, taking turns; `server`: by `trl vllm-serve` on other GPUs."""
    server: Annotated[str, Field(min_length=1)] = "http://127.0.0.1:8000"
    """Where the server is."""
    memory: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """With `colocate`: vLLM's share of a GPU's memory."""
    tensor_parallel: Count = 1
    """With `colocate`: GPUs that hold one copy of vLLM's model."""
    max_length: Count | None = None
    """With `colocate`: tokens of prompt and completion at most. None: as long as the model allows."""
    sleep: bool = True
    """With `colocate`: vLLM's weights and cache leave the GPU during the update."""


class RunConfig(Section):
    """All settings of a run."""

    preset: str = "tiny"
    """The preset that the other values started from."""
    output: Path | None = None
    """The run folder. None: one is made under `runs/`."""
    model: ModelSection = Field(default_factory=ModelSection)
    lora: LoraSection = Field(default_factory=LoraSection)
    data: DataSection = Field(default_factory=DataSection)
    rewards: RewardsSection = Field(default_factory=RewardsSection)
    train: TrainSection = Field(default_factory=TrainSection)
    vllm: VllmSection = Field(default_factory=VllmSection)

    def to_toml(self) -> str:
        """The whole configuration as TOML; `load_config` reads it back to an equal one."""
        return to_toml(self.model_dump())

    def check_batch(self, processes: int = 1) -> int:
        """The number of prompts in an optimiser step on so many processes.

        Raises `OptionError` if the completions of a step do not make whole groups.
        """
        train = self.train
        completions = train.per_device_batch_size * train.gradient_accumulation * processes
        if completions % train.num_generations:
            unit = train.num_generations // math.gcd(train.num_generations, train.per_device_batch_size * processes)
            raise OptionError(
                f"a step of {completions} completions (batch {train.per_device_batch_size} x accumulation "
                f"{train.gradient_accumulation} x processes {processes}) does not make whole groups of "
                f"{train.num_generations}; give --set train.gradient_accumulation={unit} or a multiple"
            )
        return completions // train.num_generations


def _words(value: Any) -> Any:
    """Text with commas as a list; anything else as it is."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value
