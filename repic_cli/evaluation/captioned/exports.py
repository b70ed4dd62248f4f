"""Scores for programs: JSON with every slot, CSV with every concept and picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from repic_cli.evaluation.captioned.breakdown import by_concept, by_picture
from repic_cli.evaluation.captioned.compare import Comparison
from repic_cli.evaluation.captioned.mistakes import mistakes
from repic_cli.evaluation.captioned.scores import PROTOCOLS, SCORES, Protocol, Scores
from repic_cli.evaluation.captioned.tables import parts
from repic_cli.evaluation.statistics import estimate


def to_json(scored: Sequence[Scores], compared: Sequence[Comparison], with_mistakes: bool) -> dict[str, Any]:
    """Everything, with the outcome of each slot."""
    return {
        "files": [_file_json(scores, with_mistakes) for scores in scored],
        "comparisons": [_comparison_json(one) for one in compared],
    }


def _file_json(scores: Scores, with_mistakes: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "file": str(scores.captions.path),
        "label": scores.label,
        "what": scores.what,
        "queries": len(scores.rows),
        "skipped": list(scores.captions.skipped),
        "failed": scores.captions.failed,
        "intervals": f"bootstrap over {'pictures' if scores.unit == 'picture' else 'queries'}",
        "paper": {"case": scores.rule.case, "pool": len(scores.rule.pool), **_protocol_json(scores, "paper")},
        "strict": {"names": len(scores.mentions.known), **_protocol_json(scores, "strict")},
        "beyond": {name: estimate(one).to_json() for name, one in scores.beyond.items()},
        "lengths": asdict(scores.lengths) if scores.lengths else None,
        "by_concept": [asdict(part) for part in by_concept(scores)],
        "by_picture": [asdict(part) for part in by_picture(scores)],
        "slots": [list(own) for own in scores.slots],
    }
    if with_mistakes:
        value["mistakes"] = [one.to_dict() for one in mistakes(scores)]
    return value


def _protocol_json(scores: Scores, protocol: Protocol) -> dict[str, Any]:
    hits, named, slots = scores.totals(protocol)
    estimates = {score: scores.estimate(protocol, score).to_json() for score in SCORES}
    return {**estimates, "hits": hits, "precision_denominator": named, "slots": slots}


def _comparison_json(found: Comparison) -> dict[str, Any]:
    return {
        "first": found.first,
        "second": found.second,
        "queries": found.queries,
        "left_out": list(found.alone),
        "changes": {
            protocol: {score: found.changes[protocol, score].to_json() for score in SCORES} for protocol in PROTOCOLS
        },
        "beyond": {name: change.to_json() for name, change in found.beyond.items()},
        "mcnemar": {protocol: asdict(test) for protocol, test in found.mcnemar.items()},
    }


def to_csv(scored: Sequence[Scores]) -> str:
    """A line for each file, concept and picture by each protocol: counts, and shares with intervals for files."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = [f"{score}{end}" for score in SCORES for end in ("", "_low", "_high")]
    writer.writerow(["file", "what", "protocol", "level", "item", "queries", "hits", "named", "slots", *bounds])
    for scores in scored:
        for line in _csv_lines(scores):
            writer.writerow([_inert(cell) for cell in line])
    return out.getvalue()


def _csv_lines(scores: Scores) -> Iterator[list[object]]:
    start: list[object] = [scores.label, scores.what]
    for protocol in PROTOCOLS:
        found = [scores.estimate(protocol, score) for score in SCORES]
        bounds = [_digits(value) for one in found for value in (one.value, one.low, one.high)]
        yield [*start, protocol, "file", "", len(scores.rows), *scores.totals(protocol), *bounds]
    for by in ("concept", "picture"):
        for part in parts(scores, by):
            for protocol, hits, named in (
                ("paper", part.paper_hits, part.paper_named),
                ("strict", part.strict_hits, part.strict_named),
            ):
                shares = [hits / named if named else math.nan, hits / part.slots if part.slots else math.nan]
                shares.append(2 * hits / (named + part.slots) if named + part.slots else math.nan)
                bounds = [cell for value in shares for cell in (_digits(value), "", "")]
                yield [*start, protocol, by, part.name, part.queries, hits, named, part.slots, *bounds]


def _inert(cell: object) -> object:
    """Text that a spreadsheet would take for a formula, made plain."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"
