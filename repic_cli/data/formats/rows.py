"""The rows of a training list of RePIC or VLM-R1: JSON, JSON lines, or a YAML file that names such files.

    {"image": ["bo/1.jpg", "park.jpg"], "problem": "Is <bo> in the second image?", "solution": "yes",
     "accu_reward_method": "yes_no"}
    {"id": 1, "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>Where is the dog?"},
     {"from": "gpt", "value": "[10, 20, 110, 220]"}], "accu_reward_method": "default"}

YAML: `datasets:`, a list of `json_path:`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic_cli.concepts.formats.files import read_text
from repic_cli.data.sources.reading import json_items, open_file, text_lines
from repic_plugins.errors import DataError
from repic_plugins.text import clean

LISTS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in its file; `value` may be anything. `error`: why it is no row."""

    file: Path
    number: int
    value: Any
    error: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}: row {self.number}"


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, streamed. Raises `DataError` if it cannot be read to its end."""
    if path.suffix.lower() in LISTS:
        for below in _listed(path):
            yield from read_rows(below)
        return
    with open_file(path) as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise DataError(f"{path}: there is nothing in it")
    if start.startswith(b"["):
        yield from (Row(path, number, value) for number, value in json_items(path))
        return
    for number, line in text_lines(path):
        try:
            yield Row(path, number, json.loads(line))
        except (ValueError, RecursionError) as error:
            yield Row(path, number, None, f"not valid JSON ({clean(error, 100)})")


def _listed(path: Path) -> list[Path]:
    """The files that a YAML file names."""
    import yaml

    try:
        found = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {clean(error, 150)}") from error
    listed = found.get("datasets") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not listed:
        raise DataError(f"{path}: must have a list `datasets` of entries with `json_path`")
    files = []
    for number, entry in enumerate(listed, 1):
        name = entry.get("json_path") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            raise DataError(f"{path}: datasets, entry {number}: the field 'json_path' is missing")
        if entry.get("sampling_strategy", "all") != "all":
            raise DataError(
                f"{path}: datasets, entry {number}: only sampling_strategy all is read; draw with data.count"
            )
        file = path.parent / name
        if file.suffix.lower() in LISTS:
            raise DataError(f"{path}: datasets, entry {number}: {name} is a list itself")
        files.append(file)
    return files
