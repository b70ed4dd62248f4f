"""TRL's GRPO trainer with shared prompts.

Three of its steps are replaced, where that applies: how completions are sampled, how their log-probabilities are
computed, and that completions of a prompt stay together when a batch is shuffled. All else is TRL's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import torch
from trl import GRPOTrainer
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.utils import pad, split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from repic_cli.training.shared_prefix.attention import use_shared_attention
from repic_cli.training.shared_prefix.feature_cache import FeatureCache
from repic_cli.training.shared_prefix.forward import Rows, body_of, shared_logps
from repic_cli.training.shared_prefix.generation import cut, sample
from repic_cli.training.shared_prefix.merging import merged
from repic_cli.training.shared_prefix.packing import runs
from repic_cli.training.shared_prefix.pictures import Picture, Pictures, encoder_outputs, pixels_of
from repic_cli.training.shared_prefix.processor import PixelCache, SharedProcessor
from repic_cli.training.shared_prefix.support import obstacle, unit, untested
from repic_plugins.errors import OptionError

Mode = Literal["auto", "on", "off"]


class SharedPrefixTrainer(GRPOTrainer):
    """GRPO whose completions share their prompt.

    `shared_prefix`: `auto` falls back to stock where it does not apply, and tells `say` why, once; `on` raises
    `OptionError` there; `off` is stock TRL. `feature_cache` keeps what a frozen vision tower made of pictures beyond a
    batch.
    """

    processing_class: Any
    _buffered_inputs: list[Any] | None

    def __init__(
        self,
        *args: Any,
        shared_prefix: Mode = "auto",
        feature_cache: FeatureCache | None = None,
        say: Callable[[str], None] = warnings.warn,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._say, self._said = say, False
        self.pictures, self.pixels = Pictures(feature_cache), PixelCache()
        self.shares = shared_prefix != "off" and self._can_share(shared_prefix)
        if self.shares:
            for model in (self.model, self.ref_model):
                if model is not None:
                    use_shared_attention(self._plain(model))

    def _can_share(self, mode: Mode) -> bool:
        why = untested() or obstacle(self._plain(self.model), self.args) or self._other_obstacle()
        if why is None:
            return True
        if mode == "on":
            raise OptionError(f"--shared-prefix on: {why}")
        self._fall_back(why)
        return False

    def _other_obstacle(self) -> str | None:
        if self.tools or self.environment_factories is not None or self.rollout_func is not None:
            return "tools, environments and rollout functions are not supported"
        return "the load-balancing loss is not supported" if self.aux_loss_enabled else None

    def _fall_back(self, why: str) -> None:
        if not self._said:
            self._said = True
            self._say(f"prompts are not shared: {why}; stock TRL is used")

    def _plain(self, model: Any) -> Any:
        """The model without wrappers and adapters."""
        model = self.accelerator.unwrap_model(model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """As TRL's, but completions of a prompt stay together."""
        if not self.shares or not self.model.training:
            return super()._prepare_inputs(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = split_pixel_values_by_grid(self._generate_and_score_completions(generation_batch))
            batches = split_tensor_dict(shuffle_groups(batch, unit(self.args)), steps)
            self._buffered_inputs = [unsplit_pixel_values_by_grid(part) for part in batches]
        return self._buffered_inputs[self._step % steps]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        if not self.shares:
            return super()._generate_and_score_completions(inputs)
        if self.model.training:
            self.pictures.clear()
        processor = self.processing_class
        self.processing_class = SharedProcessor(processor, self.pictures, self.pixels)
        try:
            return super()._generate_and_score_completions(inputs)
        finally:
            self.processing_class = processor

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: int, has_tool_images: bool = False
    ) -> Any:
        stock = super()._generate_single_turn
        if not self.shares or self.use_vllm or self.use_transformers_continuous_batching:
            return stock(prompt_ids, images, multimodal_fields, num_generations, has_tool_images)
        device = self.accelerator.device
        padded = partial(pad, padding_side="left", pad_to_multiple_of=self.pad_to_multiple_of)
        ids = [torch.tensor(row) for row in prompt_ids]
        kinds = multimodal_fields.get("mm_token_type_ids")
        counts = None if images is None else [len(row or ()) for row in images]
        grids = multimodal_fields.get("image_grid_thw")
        rows = Rows(
            padded(ids, padding_value=self._tokenizer.pad_token_id).to(device),
            padded([torch.ones_like(row) for row in ids], padding_value=0).to(device),
            completion=0,
            kinds=None if kinds is None else padded([torch.tensor(row) for row in kinds], padding_value=0).to(device),
            pictures=self.pictures.rows(multimodal_fields.get("pixel_values"), grids, counts, len(ids)),
        )
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                generation_kwargs=self.generation_kwargs,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ) as model,
            torch.no_grad(),
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            body = body_of(model)
            see = partial(self._see, body)
            with nullcontext() if self._sharded else merged(model):
                completions = sample(model, body, rows, runs(rows.prompts()), see, self.generation_config)
        return cut(completions, self.eos_token_ids), None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        pixel_values: torch.Tensor | None = None,
        image_grid_thw: torch.Tensor | None = None,
        num_images: Sequence[int] | None = None,
        mm_token_type_ids: torch.Tensor | None = None,
        **others: Any,
    ) -> Any:
        stock = partial(
            super()._get_per_token_logps_and_entropies,
            model,
            input_ids,
            attention_mask,
            logits_to_keep,
            batch_size=batch_size,
            compute_entropy=compute_entropy,
            compute_aux_loss=compute_aux_loss,
            num_images=num_images,
            mm_token_type_ids=mm_token_type_ids,
            **others,
        )
        if not self.shares:
            return stock(pixel_values=pixel_values, image_grid_thw=image_grid_thw)
        pictures = self.pictures.rows(pixel_values, image_grid_thw, num_images, len(input_ids))
        rows = Rows(input_ids, attention_mask, logits_to_keep, mm_token_type_ids, pictures)
        found = self._shared(model, rows, batch_size or len(input_ids), compute_entropy)
        if found is not None:
            return (*found, None)
        shown = [picture for row in pictures for picture in row]
        return stock(**(pixels_of(shown, input_ids.device) if shown else {}))

    def _shared(
        self, model: Any, rows: Rows, size: int, entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """Log-probabilities and entropies, chunk by chunk; None where nothing can be shared."""
        body = body_of(self.accelerator.unwrap_model(model))
        parts = [rows.part(start, start + size) for start in range(0, len(rows.input_ids), size)]
        groups = [runs(part.prompts()) for part in parts]
        if not any(len(group) > 1 for of_part in groups for group in of_part):
            self._fall_back("no two completions of a prompt stand together in a batch")
            return None
        found = []
        for part, of_part in zip(parts, groups, strict=True):
            with self.accelerator.autocast():
                made = shared_logps(model, body, part, of_part, partial(self._see, body))
            if made is None:
                return None
            found.append(made)
        logps = torch.cat([made[0] for made in found])
        return logps, torch.cat([made[1] for made in found if made[1] is not None]) if entropy else None

    @property
    def _sharded(self) -> bool:
        """Whether weights are spread over processes, so that all of them have to call each module equally often."""
        return bool(self._dist.is_fsdp or self._dist.is_zero3)

    def _see(self, body: Any, pictures: Sequence[Picture]) -> dict[str, Any]:
        """Pictures as keywords of `forward`: features where the tower is frozen and whole, else pixels."""
        tower_trained = any(weight.requires_grad for weight in body.visual.parameters())
        if tower_trained or self._sharded:
            return pixels_of(pictures, body.device)
        with self.accelerator.autocast():
            return encoder_outputs(self.pictures.features(body, pictures))


def shuffle_groups(batch: dict[str, Any], size: int) -> dict[str, Any]:
    """Shuffle blocks of `size` rows. The random numbers drawn are those of TRL's shuffling of rows, and no more."""
    rows = len(next(value for value in batch.values() if value is not None))
    order = torch.randperm(rows)
    blocks = list(dict.fromkeys((order // size).tolist()))
    places = [block * size + offset for block in blocks for offset in range(size)]
    chosen = torch.tensor(places)

    def pick(value: Any) -> Any:
        if value is None or (isinstance(value, torch.Tensor) and value.ndim == 0):
            return value
        return value[chosen.to(value.device)] if isinstance(value, torch.Tensor) else [value[row] for row in places]

    return {key: pick(value) for key, value in batch.items()}
