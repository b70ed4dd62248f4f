"""Noise of the libraries kept down, and their errors in words that tell what to do."""

from __future__ import annotations

import errno
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from repic_cli.training.run_folder import RunFolder
from repic_plugins.errors import RepicError


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
    """Errors of writing and of memory as one line each."""
    try:
        yield
    except RepicError:
        raise
    except (RuntimeError, OSError) as error:
        raise _translate(error, folder) from error


def _translate(error: Exception, folder: RunFolder) -> Exception:
    text = str(error)
    checkpoint = folder.last_checkpoint()
    hint = f"; go on with: repic train --resume {folder.path}" if checkpoint else ""
    # torch's and safetensors' writers report a full disk in words of their own.
    if isinstance(error, OSError) or any(sign in text for sign in ("No space left", "PytorchStreamWriter", "File too")):
        what = "the disk is full" if _is_full(error, text) else text.splitlines()[0]
        return RepicError(f"{folder.path}: cannot write the run: {what}{hint}")
    if "out of memory" in text.lower():
        return RepicError(
            "out of memory: give a smaller train.per_device_batch_size with more train.gradient_accumulation, "
            f"train.gradient_checkpointing=true, or a smaller model.max_pixels{hint}"
        )
    return error


def _is_full(error: Exception, text: str) -> bool:
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in text or "StreamWriter" in text
