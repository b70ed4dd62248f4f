"""Our configuration in TRL's terms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl import GRPOConfig

    from repic_cli.config_sections import VllmSection
    from repic_cli.training.plan import Plan


def grpo_arguments(plan: Plan, output: Path, *, device: str) -> GRPOConfig:
    """The `GRPOConfig` of a plan, with its checkpoints under `output`.

    TRL's own defaults differ from ours in places: bf16 and checkpointing are on there, and rows are shuffled by its
    sampler, which a resumed run cannot repeat beyond the first epoch; our rows come in order already.
    """
    from trl import GRPOConfig

    train = plan.config.train
    steps = plan.schedule.steps
    options: dict[str, Any] = {
        "output_dir": str(output),
        "use_cpu": device == "cpu",
        "seed": train.seed,
        "max_steps": steps,
        "shuffle_dataset": False,
        "per_device_train_batch_size": train.per_device_batch_size,
        "gradient_accumulation_steps": train.gradient_accumulation,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": train.scheduler,
        "warmup_steps": round(train.warmup * steps),
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "bf16": train.bf16,
        "gradient_checkpointing": train.gradient_checkpointing,
        "logging_steps": train.logging_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": round_up(train.save_steps, plan.schedule.iterations),
        "report_to": list(train.report_to),
        "disable_tqdm": True,
    }
    if train.gradient_checkpointing:
        options["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    return GRPOConfig(**options, **_grpo(plan), **_vllm(plan.config.vllm))


def _grpo(plan: Plan) -> dict[str, Any]:
    config, train = plan.config, plan.config.train
    return {
        "num_generations": train.num_generations,
        "num_iterations": train.num_iterations,
        "max_completion_length": train.max_completion_length,
        "temperature": train.temperature,
        "top_p": train.top_p,
        "beta": train.beta,
        "epsilon": train.epsilon,
        "loss_type": train.loss_type,
        "scale_rewards": train.scale_rewards,
        "reward_weights": [reward.weight for reward in plan.rewards],
        # Without dropout in the adapter there shall be none at all: rollouts and log-probabilities then agree.
        "disable_dropout": config.lora.dropout == 0,
        # Every trained weight is used in every forward pass, since each prompt has pictures and text.
        "ddp_find_unused_parameters": False,
        "log_completions": False,
    }


def _vllm(section: VllmSection) -> dict[str, Any]:
    if section.mode == "off":
        return {}
    options: dict[str, Any] = {"use_vllm": True, "vllm_mode": section.mode}
    if section.mode == "server":
        return options | {"vllm_server_base_url": section.server}
    return options | {
        "vllm_gpu_memory_utilization": section.memory,
        "vllm_tensor_parallel_size": section.tensor_parallel,
        "vllm_max_model_length": section.max_length,
        "vllm_enable_sleep_mode": section.sleep,
    }


def round_up(number: int, unit: int) -> int:
    """The least multiple of `unit` that is not below `number`."""
    return math.ceil(number / unit) * unit
