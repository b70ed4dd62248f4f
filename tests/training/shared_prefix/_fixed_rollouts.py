"""Train a tiny model on completions that are the same however many processes there are: a script for `torchrun`.

`_fixed_rollouts.py MODEL RUN OUTPUT`: MODEL is a folder, RUN a JSON of options, the first process writes OUTPUT. What
is sampled depends on the number of processes, in stock TRL too: each has its own seed. So the completions are made from
the prompts here; all that follows is the trainer's.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import GRPOConfig

from repic_cli.training.shared_prefix.trainer import SharedPrefixTrainer


class FixedRollouts(SharedPrefixTrainer):
    """Completions of 1 to 10 tokens, made from the prompt and their place in its group."""

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        completions, places = [], dict.fromkeys(map(tuple, prompt_ids), 0)
        for ids in map(tuple, prompt_ids):
            words = random.Random(repr((ids, places[ids])))
            completions.append([words.randrange(900) for _ in range(words.randint(1, 10))])
            places[ids] += 1
        return completions, None


def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [sum(ids) % 7 / 7 + len(ids) / 10 for ids in completion_ids]


def prompts() -> list[dict[str, Any]]:
    from repic_cli.embedded.records import records
    from repic_plugins.builtin import tasks

    samples = [tasks.ict().build(record, random.Random(0)) for record in records("ict", 6, 2, concepts=2)]
    return [{"prompt": list(one.messages), "images": [image.open() for image in one.images]} for one in samples]


def main(model: str, run: dict[str, Any], output: Path) -> None:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    lora = None
    if run.pop("lora"):
        from peft import LoraConfig

        lora = LoraConfig(r=4, target_modules=r".*language_model.*\.(q_proj|v_proj|up_proj|down_proj)")
    config = GRPOConfig(
        str(output.parent / "checkpoints"),
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        bf16=False,
        shuffle_dataset=False,
        num_generations=4,
        per_device_train_batch_size=8 // processes,
        max_completion_length=10,
        learning_rate=1e-4,
        ddp_find_unused_parameters=False,
        **run,
    )
    rows = prompts()
    trainer = FixedRollouts(
        AutoModelForImageTextToText.from_pretrained(model),
        [reward],
        config,
        Dataset.from_dict({"row": range(len(rows))}).with_transform(
            lambda batch: {key: [rows[row][key] for row in batch["row"]] for key in ("prompt", "images")}
        ),
        processing_class=AutoProcessor.from_pretrained(model),
        peft_config=lora,
        shared_prefix="on",
    )
    trainer.train()
    if trainer.accelerator.is_main_process:
        logged = [row for row in trainer.state.log_history if "loss" in row]
        kind = str(trainer.accelerator.distributed_type)
        output.write_text(json.dumps({"rows": logged, "processes": processes, "kind": kind}))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]))
