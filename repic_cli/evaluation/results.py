"""A folder of phases: each leaves its result as JSON, so that interrupted work goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic_cli.files import write_file
from repic_plugins.errors import DataError, OptionError

SETTINGS = "settings.json"


@dataclass(frozen=True)
class ResultFolder:
    """Where the results of one piece of work lie. They are written whole or not at all."""

    path: Path

    def open(self, settings: Mapping[str, Any]) -> bool:
        """Make the folder, or check that it was made with these settings; True if it was there.

        Raises `OptionError` when it holds something else.
        """
        old = self.load(SETTINGS)
        if old is None:
            if self.path.is_file() or (self.path.is_dir() and any(self.path.iterdir())):
                raise OptionError(f"{self.path}: not an empty folder, and not one of repic's; give another --output")
            self.path.mkdir(parents=True, exist_ok=True)
            self.save(SETTINGS, settings)
            return False
        other = [key for key in settings if old.get(key) != settings[key]]
        if other:
            shown = ", ".join(f"{key} {old.get(key)}, not {settings[key]}" for key in other)
            raise OptionError(f"{self.path}: was begun with other settings ({shown}); give another --output")
        return True

    def load(self, name: str) -> dict[str, Any] | None:
        """A phase's result, or None when there is none. Raises `DataError` when it is broken."""
        path = self.path / name
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); delete it to do this part again") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}: not a result of repic; delete it to do this part again")
        return value

    def save(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a phase's result."""
        write_file(self.path / name, json.dumps(value, indent=1, allow_nan=False) + "\n")
