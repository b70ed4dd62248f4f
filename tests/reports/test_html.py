"""The report page: escaping, self-containment, and what it shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from repic_cli.evaluation.scores import KINDS, Measure, WorldScores
from repic_cli.evaluation.statistics import Tally
from repic_cli.reports.html import Caption, Example, Known, Report, Shown, pieces, render, write_report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def picture(color: str = "navy") -> Image.Image:
    return Image.new("RGB", (112, 112), color)


def scores(share: float) -> WorldScores:
    measures = {}
    for name, kind in KINDS.items():
        value = 120.0 if kind.unit else 1.0
        hits = tuple(value * (index < share * 50) for index in range(50))
        measures[name] = Measure(name, Tally(hits, (1.0,) * 50), 0.5 if name == "oct" else None)
    return WorldScores(measures)


def report(name: str = "luna") -> Report:
    example = Example(
        picture(),
        [Shown(name, (10, 10, 60, 60), 0.91)],
        [Known(name, picture("red"), f"info of {name}")],
        Caption(f"A star, <{name}>."),
        Caption(f"<{name}> and <stranger>.", {name: [True]}),
    )
    facts = {name: {name: name}}
    return Report(name, name, scores(0.4), scores(0.9), [example], b"\x89PNG", facts, [(name, name)])


def test_hostile_text_stays_text() -> None:
    page = Page(render(report(HOSTILE)))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "link", "base", "form"}
    assert all(not key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert all((a["src"] or "").startswith("data:image/png;base64,") for tag, a in page.tags if tag == "img")
    assert "alert(1)" in page.text


def test_the_page_needs_nothing_from_outside() -> None:
    text = render(report())
    assert re.findall(r"(?:src|href)\s*=\s*.{6}", text).count('src="data:') == text.count("src=") > 0
    assert "href=" not in text
    assert "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text


def test_names_are_marked_with_their_state() -> None:
    page = Page(render(report()))
    marks = [attributes for tag, attributes in page.tags if tag == "mark"]
    assert [mark.get("title") for mark in marks] == [None, "at its object", "nobody asked for this name"]


def test_scores_are_shown_before_and_after() -> None:
    page = Page(render(report()))
    for label in ("name recall, 1 concept", "OCT: same object, yes or no", '"where is <name>?"'):
        assert label in page.text
    assert "40.0" in page.text and "90.0" in page.text and "+50.0" in page.text
    assert "NaN" not in page.text and "nan" not in page.text


def test_parts_that_are_missing_are_left_out() -> None:
    page = Page(render(Report("bare")))
    assert "Scores" not in page.text and "Pictures" not in page.text and "Training" not in page.text
    page = Page(render(Report("one model", before=scores(0.3))))
    assert "change" not in page.text and "30.0" in page.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<luna> is here", [("<luna>", "luna"), (" is here", None)]),
        ("Luna and luna's lunar luna", [("Luna and ", None), ("luna", "luna"), ("'s lunar ", None), ("luna", "luna")]),
        ("<zork> < 3", [("<zork>", "zork"), (" < 3", None)]),
        ("", []),
    ],
)
def test_captions_are_cut_at_names(text: str, expected: list[tuple[str, str | None]]) -> None:
    got = pieces(Caption(text), ["luna"])
    assert [(piece.text, piece.name) for piece in got] == expected
    assert "".join(piece.text for piece in got) == text


def test_names_with_regex_signs_and_prefixes() -> None:
    got = pieces(Caption("mr. (x) met mr. (x)y and bo, boa"), ["bo", "mr. (x)", "boa"])
    assert [piece.name for piece in got if piece.name] == ["mr. (x)", "bo", "boa"]


def test_writing_replaces_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(Report("one"), path)
    write_report(Report("two"), path)
    assert "two" in path.read_text() and [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_each_mention_has_its_own_verdict() -> None:
    got = pieces(Caption("<bo> and <bo> and <bo>", {"bo": [True, False]}), ["bo"])
    assert [piece.placed for piece in got if piece.name] == [True, False, None]
