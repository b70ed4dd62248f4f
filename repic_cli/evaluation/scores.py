"""The measures of the embedded world and what a model got in each: values, JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from repic_cli.evaluation.statistics import Estimate, Tally, estimate, paired_change

CONCEPTS = (1, 2, 4)
Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One measure: its group and label in tables, and which way is better. `unit` "" is a share."""

    group: str
    label: str
    better: Better = "higher"
    unit: str = ""
    headline: bool = False


def _concepts(count: int) -> str:
    return "1 concept" if count == 1 else f"{count} concepts"


KINDS: Mapping[str, Kind] = {
    **{f"recall_{n}": Kind("Names", f"name recall, {_concepts(n)}", headline=True) for n in CONCEPTS},
    "unasked": Kind("Names", "captions with a name nobody asked for", "lower"),
    "repeated": Kind("Names", "captions that give one name to two objects", "lower"),
    **{
        f"bound_recall_{n}": Kind("Binding", f"asked names at the right place, {_concepts(n)}", headline=True)
        for n in CONCEPTS
    },
    # Of few names said, those that are sure: a model that says more has lower shares and more names in place.
    **{
        f"binding_{n}": Kind("Binding", f"said names at the right place, {_concepts(n)}", headline=True)
        for n in CONCEPTS
    },
    "described": Kind("Binding", "said names with the right looks"),
    "where": Kind("Binding", '"where is <name>?"', headline=True),
    "oct": Kind("Skills", "OCT: same object, yes or no", headline=True),
    "vlt": Kind("Skills", "VLT: box with IoU >= 0.5", headline=True),
    "vlt_iou": Kind("Skills", "VLT: mean IoU"),
    "caption": Kind("Generic captions", "objects with all attributes right", headline=True),
    "caption_place": Kind("Generic captions", "... and at the right place"),
    "caption_color": Kind("Generic captions", "colour"),
    "caption_pattern": Kind("Generic captions", "pattern"),
    "caption_shape": Kind("Generic captions", "shape"),
    "caption_accessory": Kind("Generic captions", "accessory"),
    "caption_names": Kind("Generic captions", "captions with a name nobody asked for", "lower"),
    "length": Kind("Length", "length of personalised captions", "neither", "characters"),
    "caption_length": Kind("Length", "length of generic captions", "neither", "characters"),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """What a model got in one measure. `chance` is what guessing would get, where that is known."""

    name: str
    tally: Tally
    chance: float | None = None

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @property
    def estimate(self) -> Estimate:
        return estimate(self.tally, bounded=not self.kind.unit)


@dataclass(frozen=True)
class WorldScores:
    """All measures of one model. `info` says how they came about: model, seed, count, split, seconds."""

    measures: Mapping[str, Measure]
    info: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Estimate:
        return self.measures[name].estimate

    def __iter__(self) -> Iterator[str]:
        return iter(self.measures)

    def to_dict(self, *, samples: bool = True) -> dict[str, Any]:
        """Plain values for JSON. `samples` keeps the hits of each sample, which `from_dict` needs."""
        measures = {}
        for name, measure in self.measures.items():
            entry: dict[str, Any] = {"label": measure.kind.label, **_finite(asdict(measure.estimate))}
            if measure.chance is not None:
                entry["chance"] = measure.chance
            if samples:
                entry["hits"], entry["chances"] = list(measure.tally.hits), list(measure.tally.chances)
            measures[name] = entry
        return {"info": dict(self.info), "measures": measures}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WorldScores:
        """The inverse of `to_dict`. Raises ValueError when the hits were left out or a measure is unknown."""
        measures = {}
        for name, entry in data["measures"].items():
            if name not in KINDS or "hits" not in entry:
                raise ValueError(f"scores: measure {name} is unknown or has no samples")
            tally = Tally(tuple(entry["hits"]), tuple(entry["chances"]))
            measures[name] = Measure(name, tally, entry.get("chance"))
        return cls(measures, data.get("info", {}))


def change(before: WorldScores, after: WorldScores, name: str) -> Estimate:
    """The change of one measure between two models on the same samples, with a paired interval."""
    return paired_change(before.measures[name].tally, after.measures[name].tally)


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: no chance at all becomes null."""
    return {key: None if value != value else value for key, value in values.items()}
