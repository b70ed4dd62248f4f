"""The group of `repic eval`, into which its commands put themselves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from repic_cli.commands import _show
from repic_plugins.errors import OptionError

app = _show.group(
    "Score captions, make them for scoring, and let a judge compare them.", "repic eval score captions.json"
)


@app.callback()
def _group() -> None:  # keeps the group one when it has a single command
    pass


def check_out(out: Path, inputs: Iterable[Path]) -> None:
    """Raises `OptionError` if `out` cannot be written, or is what is read: said before anything is paid for."""
    if out.is_dir():
        raise OptionError(f"--out {out}: a folder; give the name of a file")
    if out.exists() and any(out.samefile(path) for path in inputs if path.exists()):
        raise OptionError(f"--out {out}: the captions themselves; give another file")
