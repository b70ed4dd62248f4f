"""TRL's GRPO trainer with what a run of ours needs around it: no telemetry, safe checkpoints, seconds per phase.

The algorithm is TRL's. Overridden are hooks that TRL and transformers override themselves, and what lets completions
share their prompt (`shared_prefix`); `tests/training` compares a run with the unmodified trainer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from repic_cli.models.adapters import WEIGHTS
from repic_cli.training.arguments import grpo_arguments
from repic_cli.training.dataset import make_dataset
from repic_cli.training.run_folder import RunFolder, mark_checkpoint
from repic_cli.training.shared_prefix.feature_cache import FeatureCache
from repic_cli.training.shared_prefix.trainer import SharedPrefixTrainer
from repic_plugins.errors import ModelError

if TYPE_CHECKING:
    from repic_cli.models import Backbone
    from repic_cli.training.phases import Phases
    from repic_cli.training.plan import Plan
    from repic_cli.training.scorer import Scorer

ADAPTER = "default"
"""The adapter that is trained. When a run starts from an adapter, TRL keeps a frozen copy of it beside this one."""


class RepicTrainer(SharedPrefixTrainer):
    """GRPO over the prompts of a plan."""

    def __init__(
        self,
        plan: Plan,
        backbone: Backbone,
        scorer: Scorer,
        phases: Phases,
        folder: RunFolder,
        callbacks: list[TrainerCallback],
        say: Callable[[str], None],
    ) -> None:
        self.plan, self.phases, self.folder = plan, phases, folder
        super().__init__(
            model=backbone.model,
            reward_funcs=scorer.columns(),
            args=grpo_arguments(plan, folder.checkpoints, device=backbone.device.type),
            train_dataset=make_dataset(plan.prompts, phases),
            processing_class=backbone.processor,
            peft_config=_lora(plan, backbone),
            callbacks=callbacks,
            shared_prefix=plan.config.train.shared_prefix,
            feature_cache=_feature_cache(plan),
            say=say,
        )
        for noisy in (PrinterCallback, ProgressCallback):
            self.remove_callback(noisy)

    def _send_telemetry(self) -> None:
        """Nothing is reported to anybody."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Ours is written beside the adapter (`repic_cli.training.card`)."""

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        with self.phases.measure("generate"):
            return super()._generate_single_turn(*args, **kwargs)

    def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
        with self.phases.measure("prepare"):
            return super()._generate_and_score_completions(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        # With gradients it is the forward pass of the update; without, those of the reference and the old policy.
        with nullcontext() if torch.is_grad_enabled() else self.phases.measure("logps"):
            return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add seconds per phase and our own count of epochs; TRL sees the whole run as one."""
        row = self.state.global_step // self.plan.schedule.iterations * self.plan.schedule.prompts
        self.state.epoch = row / len(self.plan.records)
        logs.update(self.phases.take())
        super().log(logs, start_time)
        # metrics.jsonl has them; here they would be written again into every checkpoint.
        self.state.log_history.clear()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The trained adapter alone: neither TRL's frozen copy of a starting adapter nor the processor."""
        if self.args.should_save:
            # PEFT would ask the Hub whether the vocabulary has grown; adapters of ours hold no embeddings.
            self.model.save_pretrained(
                output_dir, state_dict=state_dict, selected_adapters=[ADAPTER], save_embedding_layers=False
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save only where the run can go on exactly, and mark the checkpoint when all processes have written."""
        step = self.state.global_step
        if not self.plan.schedule.is_boundary(step):
            return
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            path = self.folder.checkpoints / f"checkpoint-{step}"
            mark_checkpoint(path, step=step, processes=self.accelerator.num_processes, data=self.plan.digest)
            self.folder.keep_checkpoints(self.plan.config.train.save_limit)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the trained adapter, strictly: every weight of the file has a place and every place gets one."""
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        from peft import get_peft_model_state_dict, set_peft_model_state_dict
        from safetensors.torch import load_file

        weights = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        expected = get_peft_model_state_dict(self.model, adapter_name=ADAPTER, save_embedding_layers=False)
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in expected.items()}:
            raise ModelError(
                f"{resume_from_checkpoint}: the checkpoint does not fit the model; was config.toml changed?"
            )
        set_peft_model_state_dict(self.model, weights, adapter_name=ADAPTER)


def _feature_cache(plan: Plan) -> FeatureCache | None:
    """Where features of pictures are kept from epoch to epoch, if that is asked for."""
    train = plan.config.train
    return FeatureCache(train.feature_cache * 2**20, train.feature_cache_folder) if train.feature_cache else None


def _lora(plan: Plan, backbone: Backbone) -> Any:
    """The new adapter, None if the run starts from one."""
    from repic_cli.models.adapters import lora_config

    if plan.config.model.adapter is not None:
        return None
    lora = plan.config.lora
    return lora_config(backbone.model, r=lora.r, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)
