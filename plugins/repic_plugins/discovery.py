"""Find the entry points of the group `repic`, one distribution at a time.

`importlib.metadata.entry_points` parses every distribution of the environment in one go, so that one malformed
`entry_points.txt` hides all plugins. Here each distribution fails alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

from repic_plugins.text import clean, reason

GROUP = "repic"
OWN_DISTRIBUTION = "repic-cli"


@dataclass(frozen=True)
class Found:
    """An entry point with the distribution that offers it; `problem` says why it could not be read."""

    distribution: str
    version: str
    entry_point: EntryPoint | None
    problem: str = ""

    @property
    def name(self) -> str:
        return clean(self.entry_point.name, 64) if self.entry_point else "?"

    @property
    def builtin(self) -> bool:
        return normalise(self.distribution) == OWN_DISTRIBUTION


def normalise(name: str) -> str:
    """A distribution or entry-point name in the form in which two spellings are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_entry_points() -> list[Found]:
    """All entry points of the group, those of repic itself first, then by distribution and name.

    When a distribution is on the path twice, the first one counts, as it does for imports.
    """
    found: dict[str, list[Found]] = {}
    for distribution in distributions():
        entries = list(_read(distribution))
        if entries:
            found.setdefault(normalise(entries[0].distribution), entries)
    every = [entry for entries in found.values() for entry in entries]
    return sorted(every, key=lambda entry: (not entry.builtin, entry.distribution, entry.name))


def _read(distribution: Distribution) -> Iterator[Found]:
    try:
        text = distribution.read_text("entry_points.txt")
    except (OSError, UnicodeDecodeError):
        return
    if not text or f"[{GROUP}]" not in text.replace(" ", ""):
        return
    name, version = _identity(distribution)
    try:
        entries = tuple(distribution.entry_points.select(group=GROUP))
    except Exception as error:
        yield Found(name, version, None, f"entry_points.txt cannot be read: {reason(error)}")
        return
    for entry in entries:
        yield Found(name, version, entry)


def _identity(distribution: Distribution) -> tuple[str, str]:
    try:
        metadata = distribution.metadata
        return clean(metadata["Name"] or "unnamed", 80), clean(metadata["Version"] or "", 40)
    except Exception:
        return "unnamed", ""
