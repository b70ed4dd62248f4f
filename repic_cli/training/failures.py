"""Noise of the libraries kept down, and their errors in words that tell what to do."""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from repic_cli.training.run_folder import RunFolder
from repic_plugins.errors import OptionError, RepicError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_SIGNS = ("PytorchStreamWriter", *(f"os error {number}" for number in FULL))
"""How the writers of torch and safetensors, which raise no OSError, tell that the disk is full."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' advice to themselves; errors still come as exceptions."""
    from transformers.utils import logging as chatter

    level = chatter.get_verbosity()
    chatter.set_verbosity_error()
    trl = logging.getLogger("trl")
    before, trl.level = trl.level, logging.ERROR
    try:
        with warnings.catch_warnings():
            for module in ("transformers", "trl", "peft", "accelerate", "torch"):
                warnings.filterwarnings("ignore", module=rf"{module}\b")
            yield
    finally:
        chatter.set_verbosity(level)
        trl.level = before


@contextmanager
def explained(folder: RunFolder) -> Iterator[None]:
    """Errors of writing and of memory as one line each, with how to go on; all others as they are."""
    try:
        yield
    except RepicError:
        raise
    except Exception as error:
        what = _explain(error, folder)
        if what is None:
            raise
        again = f"; go on with: repic train --resume {folder.path}" if folder.last_checkpoint() else ""
        raise RepicError(what + again) from error


def _explain(error: Exception, folder: RunFolder) -> str | None:
    text = str(error)
    if "out of memory" in text.lower():
        return (
            "out of memory: give a smaller train.per_device_batch_size with more train.gradient_accumulation, "
            "train.gradient_checkpointing=true, or a smaller model.max_pixels"
        )
    if getattr(error, "errno", None) in FULL or any(sign in text for sign in FULL_SIGNS):
        return f"{folder.path}: cannot write the run: the disk is full"
    if isinstance(error, OSError):
        return f"{folder.path}: cannot write the run: {error.strerror or text}"
    return None


def check_vllm(mode: str, device: str) -> None:
    """Raise `OptionError` if vLLM cannot sample: it is not installed, or there is no GPU. `device`: as configured."""
    if mode == "off":
        return
    from importlib.util import find_spec

    import torch

    if find_spec("vllm") is None:
        raise OptionError(f"--vllm {mode}: vLLM is not installed; pip install 'trl[vllm]', or leave --vllm out")
    if not torch.cuda.is_available() or device == "cpu":
        raise OptionError(f"--vllm {mode}: vLLM samples on GPUs, and the run has none; leave --vllm out")


def check_reporting(names: Sequence[str]) -> None:
    """Raise `OptionError` for a tracker that transformers does not know or that is not installed."""
    if not names:
        return
    from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise OptionError(f"--report-to: unknown tracker {name!r}; there are {known}")
        if name not in get_available_reporting_integrations():
            raise OptionError(f"--report-to {name}: it is not installed; pip install {name}")
