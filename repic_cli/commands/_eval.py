"""The group of `repic eval`, into which its commands put themselves."""

from __future__ import annotations

from repic_cli.commands import _show

app = _show.group(
    "Score captions, make them for scoring, and let a judge compare them.", "repic eval score captions.json"
)


@app.callback()
def _group() -> None:  # keeps the group one when it has a single command
    pass
