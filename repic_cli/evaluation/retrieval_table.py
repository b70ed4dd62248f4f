"""The study of retrieval as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from repic_cli.evaluation.retrieval_rows import GIVEN, ROWS, VERIFIED, Named
from repic_cli.evaluation.statistics import Estimate, Tally, estimate

Cells = Sequence[Mapping[str, Any]]


def table(cells: Cells) -> str:
    """F1 of names with 95 % intervals, how often strangers are named, and what retrieval itself gets right."""
    sizes = sorted({cell["size"] for cell in cells})
    known = sorted({cell["known"] for cell in cells} - {0})
    groups = [(size, number) for size in sizes for number in known]
    lines = ["F1 of the names in captions, per cent, with 95 % intervals over scenes:", ""]
    lines += _head("concepts in the database", "known things in the scene", *ROWS.values(), "verified / given")
    lines += [_f1_line(size, number, _those(cells, size, number)) for size, number in groups]
    lines += ["", "Scenes of strangers alone whose caption names somebody, per cent:", ""]
    lines += _head("concepts in the database", *ROWS.values())
    for size in sizes:
        those = _those(cells, size, 0)
        lines.append(_line(size, *(_show(estimate(_sum(those, "captions", row).naming)) for row in ROWS)))
    lines += ["", "What is shown to the model: precision / recall of the concepts, per cent:", ""]
    lines += _head("concepts in the database", "known things in the scene", *ROWS.values())
    for size, number in groups:
        those = _those(cells, size, number)
        lines.append(_line(size, number, *(_both(_sum(those, "shown", row)) for row in ROWS)))
    return "\n".join([*lines, "", _answers(cells), ""])


def _head(*titles: str) -> list[str]:
    return [_line(*titles), f"|{'---:|' * len(titles)}"]


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def auc(answers: Iterable[Mapping[str, Any]], what: str) -> float | None:
    """How often a concept that is there has a higher value than one that is not; None without one of each."""
    pairs = [(answer[what], answer["true"]) for answer in answers]
    true = [value for value, there in pairs if there]
    false = [value for value, there in pairs if not there]
    if not true or not false:
        return None
    wins = sum((one > other) + 0.5 * (one == other) for one in true for other in false)
    return wins / (len(true) * len(false))


def _f1_line(size: int, known: int, cells: Cells) -> str:
    values = {row: estimate(_sum(cells, "captions", row).f1) for row in ROWS}
    given = values[GIVEN].value
    ratio = f"{100 * values[VERIFIED].value / given:.1f}" if given else "-"
    return _line(size, known, *map(_show, values.values()), ratio)


def _answers(cells: Cells) -> str:
    answers = [answer for cell in cells for answer in cell["answers"]]
    there = sum(answer["true"] for answer in answers)
    text = f"{len(answers)} concepts were put to the model, {there} of them rightly."
    one, other = auc(answers, "probability"), auc(answers, "score")
    if one is None or other is None:
        return text
    return (
        f"{text} Telling right from wrong (area under the curve): the model's answer {one:.3f}, the cosine {other:.3f}."
    )


def _those(cells: Cells, size: int, known: int) -> Cells:
    return [cell for cell in cells if cell["size"] == size and cell["known"] == known]


def _sum(cells: Cells, what: str, row: str) -> Named:
    total = Named((), (), ())
    for cell in cells:
        total += Named(**{key: tuple(value) for key, value in cell[what][row].items()})
    return total


def _both(named: Named) -> str:
    return f"{_share(named.precision)} / {_share(named.recall)}"


def _share(tally: Tally) -> str:
    chances = sum(tally.chances)
    return f"{100 * sum(tally.hits) / chances:.1f}" if chances else "-"


def _show(value: Estimate) -> str:
    return "-" if value.n == 0 else f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"
