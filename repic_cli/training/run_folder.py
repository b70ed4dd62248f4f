"""The folder of a run, and what may be written into it when.

config.toml        every setting, resolved             samples.jsonl  completions with their rewards
environment.json   versions, hardware, seed            samples/       pictures of some of them
metrics.jsonl      one line per logged step            adapter/       the result, in PEFT format
checkpoints/       what --resume goes on from          curves.png
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic_cli.files import naming, write_file
from repic_plugins.errors import OptionError

MARKER = "repic.json"
"""Written into a checkpoint when all else in it is complete; one without it is a torso."""
_CHECKPOINT = "checkpoint-"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint. `processes` and `data` have to be the same when the run goes on."""

    path: Path
    step: int
    processes: int
    data: str


@dataclass(frozen=True)
class RunFolder:
    """Names and safe writing of the files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def pictures(self) -> Path:
        return self.path / "samples"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def check_free(self) -> None:
        """Raise `OptionError` unless the folder can hold a new run: it is missing or empty."""
        if self.config.is_file():
            hint = f"go on with it by --resume {self.path}" if self.last_checkpoint() else "delete it"
            raise OptionError(f"{self.path}: there is a run in this folder; {hint}, or give another --output")
        if self.path.is_dir() and any(self.path.iterdir()):
            raise OptionError(f"{self.path}: the folder is not empty; give another --output")
        if self.path.exists() and not self.path.is_dir():
            raise OptionError(f"{self.path}: is a file; give a folder as --output")

    def check_run(self) -> Checkpoint:
        """The checkpoint from which the run can go on. Raises `OptionError` if there is no run or no checkpoint."""
        if not self.config.is_file():
            raise OptionError(
                f"{self.path}: no run in this folder (no config.toml); give the folder of a run to --resume"
            )
        checkpoint = self.last_checkpoint()
        if checkpoint is None:
            raise OptionError(f"{self.path}: the run has no complete checkpoint to go on from; start it anew")
        return checkpoint

    def last_checkpoint(self) -> Checkpoint | None:
        """The complete checkpoint of the highest step, None if there is none."""
        found = [checkpoint for path in self._checkpoint_paths() if (checkpoint := read_checkpoint(path))]
        return max(found, key=lambda checkpoint: checkpoint.step, default=None)

    def drop_torsos(self) -> None:
        """Delete checkpoints that a killed run left incomplete."""
        for path in self._checkpoint_paths():
            if read_checkpoint(path) is None:
                shutil.rmtree(path)

    def keep_checkpoints(self, limit: int | None) -> None:
        """Delete all but the `limit` newest complete checkpoints; None keeps all."""
        if limit is None:
            return
        found = [checkpoint for path in self._checkpoint_paths() if (checkpoint := read_checkpoint(path))]
        for checkpoint in sorted(found, key=lambda checkpoint: checkpoint.step)[:-limit]:
            shutil.rmtree(checkpoint.path)

    def rewind(self, step: int) -> None:
        """Take out the lines that were written after `step`, which the resumed run will write again."""
        for path in (self.metrics, self.samples):
            if path.is_file():
                write_file(path, "".join(_lines_until(path, step)))

    def _checkpoint_paths(self) -> list[Path]:
        if not self.checkpoints.is_dir():
            return []
        return [path for path in self.checkpoints.iterdir() if path.is_dir() and path.name.startswith(_CHECKPOINT)]


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint in a folder, None if it is incomplete."""
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        return Checkpoint(path, int(marker["step"]), int(marker["processes"]), str(marker["data"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mark_checkpoint(path: Path, *, step: int, processes: int, data: str) -> None:
    """Declare a checkpoint complete."""
    write_json(path / MARKER, {"step": step, "processes": processes, "data": data})


def write_json(path: Path, value: Any) -> None:
    """Write JSON as a whole or not at all."""
    write_file(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append lines of JSON. One `write` for all of them, so that a killed run leaves whole lines."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


def _lines_until(path: Path, step: int) -> list[str]:
    """The whole lines of steps up to `step`; a last line that was cut off is left out."""
    kept = []
    # Not splitlines(): texts may hold other line separators, which JSON does not escape.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("step", 0) <= step:
            kept.append(line + "\n")
    return kept
