"""Why the two protocols differ about a name, and what captions get wrong, one line each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from repic_cli.concepts.text import fold
from repic_cli.evaluation.captioned.known import KnownConcept
from repic_cli.evaluation.captioned.paper import END, STRIPPED, Slot

if TYPE_CHECKING:
    from repic_cli.evaluation.captioned.rows import CaptionRow
    from repic_cli.evaluation.captioned.scores import Scores

DIFFERS: dict[str, str] = {
    "blank": "the key has a blank, so no single token can be it",
    "name": "the caption has the concept's name, which is not its key",
    "possessive": "a possessive, which is no token of its own",
    "signs": "other signs stand at the name, so it is no token of its own",
    "case": "the name stands in another case",
    "written": "written with a blank, hyphen or sign that the key has not, or without one that it has",
    "common": "a common word or single letter without brackets, which proves no name",
    "longer": "it stands in a longer name, in brackets with more than the name, or in a closing tag",
    "unseen": "a wrong name that is no token of its own, which the paper's rule does not see",
    "extra": "a wrong name, which costs nothing by the paper's rule as all right ones are there",
    "phantom": "the paper's rule takes a word for the name of another concept",
}
"""The reasons for which the protocols differ, with what they mean."""
_AROUND = 30


@dataclass(frozen=True, slots=True)
class Mistake:
    """A slot or a wrong name of one caption. `paper` and `strict` are what the protocols make of it.

    `reason` is a key of `DIFFERS`, or empty where the protocols agree. `where` is the part of the caption it is about.
    """

    row: int
    image: str
    key: str
    paper: str
    strict: str
    reason: str
    where: str

    @property
    def explanation(self) -> str:
        """The reason in words."""
        return DIFFERS.get(self.reason, "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "explanation": self.explanation}


def mistakes(scores: Scores) -> Iterator[Mistake]:
    """All slots that one of the protocols does not call a hit, and all wrong names, in the order of the file."""
    named: list[list[int]] = [[] for _ in scores.rows]
    for text, concept in zip(scores.mentions.text.tolist(), scores.mentions.concept.tolist(), strict=True):
        named[text].append(concept)
    starts = np.concatenate([[0], np.cumsum(scores.mentions.slots)]).tolist()
    concepts = scores.mentions.known.concepts
    for i, row in enumerate(scores.rows):
        targets = scores.mentions.target_concept[starts[i] : starts[i + 1]].tolist()
        said = [bool(hit) for hit in scores.mentions.hit[starts[i] : starts[i + 1]]]
        wrong = [number for number in named[i] if number not in targets]
        slots = scores.slots[i]
        for key, number, slot, hit in zip(row.targets, targets, slots, said, strict=True):
            if slot != "hit" or not hit:
                yield _slot(row, key, concepts[number], slot, hit, bool(wrong))
        for number in wrong:
            seen = scores.rule.folded(concepts[number].key) in scores.rule.present(row.caption)
            yield _wrong(row, concepts[number], slots, seen)
        for name in scores.mentions.invented[i]:
            yield Mistake(row.number, row.image, name, "", "invented", "", _snippet(row.caption, name))


def reasons(found: Sequence[Mistake]) -> Counter[str]:
    """How often the protocols differ for which reason, most frequent first."""
    return Counter(dict(Counter(one.reason for one in found if one.reason).most_common()))


def _slot(row: CaptionRow, key: str, concept: KnownConcept, slot: Slot, hit: bool, wrong: bool) -> Mistake:
    found = spelled(row.caption, concept) if hit or slot == "hit" else None
    where = _around(row.caption, found) if found else ""
    if hit:
        reason = _why_paper_misses(row.caption, key, found)
    elif slot == "hit":
        reason = _why_strict_misses(row.caption, found)
    else:  # nobody calls it named; they may differ in whether another name takes its place
        reason = "phantom" if slot == "miss_other" and not wrong else ""
    return Mistake(row.number, row.image, key, slot, "hit" if hit else "missing", reason, where)


def _why_paper_misses(caption: str, key: str, found: re.Match[str] | None) -> str:
    """For a slot that only the strict rule calls a hit."""
    if found is None:
        return "written"
    text = found.group()
    if " " in key:
        return "blank"
    if fold(text) != fold(key):
        return "name" if re.sub(r"\W", "", fold(text)) != re.sub(r"\W", "", fold(key)) else "written"
    token = _token_at(caption, found)
    if token.strip("<>") == text:
        return "case"
    behind = caption[found.end() : found.end() + 3].lstrip(">")
    return "possessive" if behind[:1] in ("'", "’", "`") and behind[1:2].isalpha() else "signs"


def _why_strict_misses(caption: str, found: re.Match[str] | None) -> str:
    """For a slot that only the paper's rule calls a hit."""
    if found is None:
        return "longer"
    return "common" if "<" not in _token_at(caption, found) else "longer"


def _wrong(row: CaptionRow, concept: KnownConcept, slots: Sequence[Slot], seen: bool) -> Mistake:
    """A name of the database that the caption has without being asked for; `seen`: the paper's rule sees it too."""
    if not slots:
        verdict, reason = "", ""
    elif not seen:
        verdict, reason = "not seen", "unseen"
    elif "miss_other" in slots:
        verdict, reason = f"costs {slots.count('miss_other')} of {len(slots)} slots", ""
    else:
        verdict, reason = "costs nothing", "extra"
    found = spelled(row.caption, concept)
    where = _around(row.caption, found) if found else ""
    return Mistake(row.number, row.image, concept.key, verdict, "wrong name", reason, where)


def spelled(caption: str, concept: KnownConcept) -> re.Match[str] | None:
    """Where a concept's spelling stands in a caption, in brackets before bare, the longest spelling first."""
    for bracketed in (True, False):
        for text in sorted(concept.spellings, key=len, reverse=True):
            words = r"\s+".join(re.escape(word).replace("'", "['’`]") for word in text.split())
            pattern = rf"(?<=<){words}(?=['’`]?\w*\\?>)" if bracketed else rf"(?<!\w){words}(?!\w)"
            found = re.search(pattern, caption, re.IGNORECASE)
            if found:
                return found
    return None


def _token_at(caption: str, found: re.Match[str]) -> str:
    """The paper's token that the match stands in."""
    start = max(caption.rfind(blank, 0, found.start()) for blank in " \n\t") + 1
    ends = [at for blank in " \n\t" if (at := caption.find(blank, found.end())) >= 0]
    return caption[start : min(ends, default=len(caption))].replace(END, "").strip(STRIPPED)


def _around(caption: str, found: re.Match[str]) -> str:
    start, end = max(0, found.start() - _AROUND), min(len(caption), found.end() + _AROUND)
    return f"{'…' if start else ''}{caption[start:end]}{'…' if end < len(caption) else ''}"


def _snippet(caption: str, text: str) -> str:
    found = re.search(re.escape(text), caption)
    return _around(caption, found) if found else ""
