"""Scores as tables for a person: plain rows that the terminal and Markdown share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repic_cli.evaluation.captioned.breakdown import By, Part, by_concept, by_picture
from repic_cli.evaluation.captioned.compare import Comparison
from repic_cli.evaluation.captioned.mistakes import DIFFERS, Mistake, mistakes, reasons
from repic_cli.evaluation.captioned.scores import BEYOND, SCORES, Protocol, Scores
from repic_cli.evaluation.statistics import estimate, shown, shown_change
from repic_plugins.text import clean


@dataclass(frozen=True)
class Table:
    """A heading, the names of the columns, and rows of plain text; numbers stand to the right from `numeric` on."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: int = 1


def score_table(scored: Sequence[Scores], protocols: Sequence[Protocol]) -> Table:
    """Precision, recall and F1 of each file by each protocol, in per cent with intervals."""
    rows = []
    for scores in scored:
        for protocol in protocols:
            hits, named, slots = scores.totals(protocol)
            if not slots:
                continue
            cells = [shown(scores.estimate(protocol, score)) for score in SCORES]
            label = scores.label if scores.what == "captions" else f"{scores.label}: {scores.what}"
            rule = (
                f"paper, case {'kept' if scores.rule.case == 'keep' else 'folded'}" if protocol == "paper" else protocol
            )
            rows.append((label, rule, *cells, f"{hits}/{named}/{slots}", str(len(scores.rows))))
    columns = ("captions", "protocol", "precision", "recall", "F1", "hits/named/slots", "N")
    return Table("Names in captions, per cent with 95 % interval", columns, tuple(rows), 2)


def beyond_table(scored: Sequence[Scores]) -> Table:
    """What neither protocol has, a row for each file; shares in per cent, lengths as mean and 5 % to 95 %."""
    shown = [scores for scores in scored if scores.what == "captions"]
    names = [name for name in BEYOND if any(name in one.beyond for one in shown)]
    rows = []
    for one in shown:
        cells = [f"{100 * estimate(one.beyond[name]).value:.1f}" if name in one.beyond else "-" for name in names]
        if one.lengths is not None:
            long = one.lengths
            cells += [_spread(long.mean_chars, long.chars), _spread(long.mean_words, long.words)]
        rows.append((one.label, *cells))
    columns = ("captions", *(name.replace("_", " ") for name in names), "characters", "words")
    return Table("What neither protocol has, per cent of captions", columns, tuple(rows))


def beyond_legend(scored: Sequence[Scores]) -> list[str]:
    """What the columns of `beyond_table` mean, a line each."""
    return [
        f"{name.replace('_', ' ')}: {text}"
        for name, text in BEYOND.items()
        if any(name in one.beyond for one in scored)
    ]


def part_table(scores: Scores, by: By) -> Table:
    """A break-down: hits of slots, and how many of the names that were said are right."""
    rows = [
        (
            clean(part.name, 200),
            str(part.queries),
            _ratio(part.paper_hits, part.paper_named),
            _ratio(part.paper_hits, part.slots),
            _ratio(part.strict_hits, part.strict_named),
            _ratio(part.strict_hits, part.slots),
        )
        for part in parts(scores, by)
    ]
    columns = (by, "captions", "paper precision", "paper recall", "strict precision", "strict recall")
    return Table(f"{scores.label}, by {by}", columns, tuple(rows))


def parts(scores: Scores, by: By) -> list[Part]:
    """The break-down by concept or picture."""
    return by_concept(scores) if by == "concept" else by_picture(scores)


def mistake_tables(scores: Scores) -> list[Table]:
    """Why the protocols differ, counted; each difference; and the mistakes that both see."""
    found = list(mistakes(scores))
    counted = tuple((reason, str(count), DIFFERS[reason]) for reason, count in reasons(found).items())
    return [
        Table(f"{scores.label}: why the protocols differ", ("reason", "times", "what it is"), counted, 9),
        _mistake_table(f"{scores.label}: each difference", [one for one in found if one.reason]),
        _mistake_table(f"{scores.label}: other mistakes", [one for one in found if not one.reason]),
    ]


def _mistake_table(title: str, found: Iterable[Mistake]) -> Table:
    rows = tuple(
        (
            str(one.row),
            clean("/".join(one.image.split("/")[-2:]), 60),  # files of many sets are called 00.jpg in every folder
            clean(f"<{one.key}>", 60),
            one.paper,
            one.strict,
            one.reason,
            clean(one.where, 120),
        )
        for one in found
    )
    return Table(title, ("row", "picture", "name", "paper", "strict", "reason", "caption"), rows, 9)


def comparison_tables(found: Comparison, protocols: Sequence[Protocol]) -> list[Table]:
    """The change of each score with its paired interval, and McNemar's test on whole captions."""
    rows = [
        (f"{protocol} {score}", shown_change(found.changes[protocol, score]))
        for protocol in protocols
        for score in SCORES
    ]
    rows += [(BEYOND[name], shown_change(change)) for name, change in found.beyond.items()]
    title = f"{found.second} against {found.first}: {found.queries} common queries"
    left = f" ({found.alone[0]} and {found.alone[1]} left out)" if any(found.alone) else ""
    tests = tuple(
        (protocol, str(test.only_first), str(test.only_second), f"{test.p:.2g}")
        for protocol, test in found.mcnemar.items()
        if protocol in protocols
    )
    columns = ("all names in the caption", "only the first", "only the second", "McNemar p")
    return [Table(title + left, ("score", "change in points"), tuple(rows)), Table("", columns, tests)]


def markdown(tables: Iterable[Table]) -> str:
    """The tables as Markdown."""
    parts = []
    for table in tables:
        lines = [f"**{_escaped(table.title)}**", ""] if table.title else []
        lines.append(f"| {' | '.join(map(_escaped, table.columns))} |")
        marks = ["---:" if number >= table.numeric else "---" for number in range(len(table.columns))]
        lines.append(f"|{'|'.join(marks)}|")
        lines += [f"| {' | '.join(map(_escaped, row))} |" for row in table.rows]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _escaped(text: str) -> str:
    """Text of a cell that is neither HTML nor Markdown."""
    plain = clean(text, 400).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for sign in "|`*_":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def _ratio(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} ({part}/{whole})" if whole else "-"


def _spread(mean: float, values: Sequence[float]) -> str:
    return f"{mean:.1f} ({values[0]:.0f} to {values[-1]:.0f})"
