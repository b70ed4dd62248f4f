"""The paper's rule, exactly as published: what reproduces its Table 2 to the digit, with all its faults.

Tokens are cut at white space and stripped of a few signs. A concept is there when `<key>` or `key` is a token. Each
concept that should be named is a slot: a hit when it is there; else a miss when any other concept of the pool is there
that should not be; else nothing. Recall is hits / slots, precision hits / (hits + misses). So a key with a blank can
never be hit, nor can a possessive; and an extra name costs only where a right one is lacking (see `strict`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from repic_cli.evaluation.captioned.rows import CaptionRow

Slot = Literal["hit", "miss_other", "none"]
Case = Literal["keep", "fold"]

STRIPPED = ".,!?;:()[]{}\"'-"
END = "</s>"
KEPT_FOR = 2
"""The published script for two concepts keeps the case, those for one and for four fold it."""


@dataclass(frozen=True)
class PaperRule:
    """The rule for one file. `pool` are the keys that a caption may wrongly name, as rows write them."""

    case: Case
    pool: frozenset[str]

    def slots(self, row: CaptionRow) -> tuple[Slot, ...]:
        """The outcome of each concept that the row should name, in the order of the row."""
        return self.judge(row.targets, self.present(row.caption))

    def judge(self, targets: Sequence[str], present: Collection[str]) -> tuple[Slot, ...]:
        """The same when these keys (as `folded` gives them) are there."""
        wanted = [self.folded(key) for key in targets]
        absent: Slot = "none" if set(present) <= set(wanted) else "miss_other"
        return tuple("hit" if key in present else absent for key in wanted)

    def folded(self, key: str) -> str:
        """The key as it is compared."""
        return key if self.case == "keep" else key.lower()

    def present(self, caption: str) -> set[str]:
        """The keys of the pool that the caption has as a token, with or without brackets."""
        text = caption.replace(END, "")
        if self.case == "fold":
            text = text.lower()
        find = self._forms.get
        return {key for word in set(text.split()) if (key := find(word.strip(STRIPPED))) is not None}

    @cached_property
    def _forms(self) -> dict[str, str]:
        """Each token that names a key of the pool."""
        return {token: key for key in self.pool for token in (key, f"<{key}>")}


def case_for(rows: Sequence[CaptionRow]) -> Case:
    """Which of the published scripts a file belongs to: that for two concepts if all its rows name two."""
    return "keep" if {len(row.targets) for row in rows if row.targets} == {KEPT_FOR} else "fold"


def paper_rule(rows: Sequence[CaptionRow], case: Case | None = None, pool: Collection[str] | None = None) -> PaperRule:
    """The rule for a file. `case` None: as `case_for` says; `pool` None: the keys of the file itself."""
    chosen = case or case_for(rows)
    keys = pool if pool is not None else {key for row in rows for key in row.targets}
    own = {key for row in rows for key in row.targets}
    return PaperRule(chosen, frozenset(key if chosen == "keep" else key.lower() for key in {*keys, *own}))
