"""What is written beside pictures: sidecars and drawings; and what a notebook shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as XML

import pytest
from PIL import Image

from repic_cli.captioning.drawing import KEPT, REJECTED, draw_boxes, drawing_names, label
from repic_cli.captioning.results import CaptionResult, UsedConcept
from repic_cli.captioning.sidecars import NAMES, sidecar_path, write_sidecar, xmp
from repic_cli.concepts.store import ConceptDatabase
from repic_plugins.errors import DataError

HOSTILE = '<b onload="x()">&"\x00\x1b[31m\ud800\u202e</rdf:li>'


def used(name: str = "bo", **facts: Any) -> UsedConcept:
    return UsedConcept(name, "info", Path("ref.png"), **facts)


def result(image: Path, *concepts: UsedConcept, caption: str = "<bo> sleeps.", **facts: Any) -> CaptionResult:
    return CaptionResult(str(image), caption, concepts, "prompt", **facts)


def test_xmp_holds_description_names_persons_and_regions() -> None:
    text = xmp(
        "<bo> & <thao>",
        [used("bo", category="dog", box=(10, 20, 60, 45)), used("thao", category="Person")],
        (100, 50),
    )
    root = XML.fromstring(text)

    def texts(path: str) -> list[str | None]:
        return [node.text for node in root.findall(path, NAMES)]

    about = "rdf:RDF/rdf:Description"
    assert texts(f"{about}/dc:description/rdf:Alt/rdf:li") == ["<bo> & <thao>"]
    assert texts(f"{about}/dc:subject/rdf:Bag/rdf:li") == ["bo", "thao"]
    assert texts(f"{about}/Iptc4xmpExt:PersonInImage/rdf:Bag/rdf:li") == ["thao"]
    region = f"{about}/Iptc4xmpExt:ImageRegion/rdf:Bag/rdf:li"
    assert texts(f"{region}/Iptc4xmpExt:Name/rdf:Alt/rdf:li") == ["bo"]
    edge = {name: texts(f"{region}/Iptc4xmpExt:RegionBoundary/Iptc4xmpExt:{name}") for name in ("rbX", "rbY", "rbH")}
    assert edge == {"rbX": ["0.10000"], "rbY": ["0.40000"], "rbH": ["0.50000"]}


def test_xmp_of_hostile_texts_is_xml() -> None:
    root = XML.fromstring(xmp(HOSTILE, [used(HOSTILE, category="person", box=(0, 0, 1, 1))], (1, 1)))
    found = root.find("rdf:RDF/rdf:Description/dc:description/rdf:Alt/rdf:li", NAMES)
    assert found is not None
    assert found.text == '<b onload="x()">&"[31m\u202e</rdf:li>'


def test_sidecars_lie_beside_the_picture(tmp_path: Path) -> None:
    made = result(tmp_path / "a photo.jpg", used(box=(0, 0, 5, 5)))
    assert write_sidecar(made, (10, 10), "xmp") == tmp_path / "a photo.jpg.xmp"
    assert write_sidecar(made, (10, 10), "json") == tmp_path / "a photo.jpg.repic.json"
    assert json.loads((tmp_path / "a photo.jpg.repic.json").read_text())["caption"] == "<bo> sleeps."
    again = result(tmp_path / "a photo.jpg", caption="new")
    assert "new" in write_sidecar(again, (10, 10), "xmp").read_text()


def test_another_programs_sidecar_is_left_alone(tmp_path: Path) -> None:
    picture, elsewhere = tmp_path / "p.jpg", tmp_path / "elsewhere.xmp"
    other = sidecar_path(picture, "xmp")
    other.write_text("<x:xmpmeta>darktable</x:xmpmeta>")
    with pytest.raises(DataError, match="written by another program"):
        write_sidecar(result(picture), (10, 10), "xmp")
    assert "darktable" in other.read_text()
    other.unlink()
    elsewhere.write_text("mine")
    other.symlink_to(elsewhere)
    with pytest.raises(DataError, match="written by another program"):
        write_sidecar(result(picture), (10, 10), "xmp")
    assert elsewhere.read_text() == "mine"


def test_boxes_are_drawn_where_they_are() -> None:
    image = Image.new("RGB", (600, 400), "white")
    found = (used("bo", box=(100, 100, 300, 200), score=0.9), used("gus", box=(400, 300, 500, 390), reason="far"))
    drawn = draw_boxes(image, [*found, used("given")])
    assert drawn.size == (600, 400)
    assert (drawn.getpixel((100, 150)), drawn.getpixel((299, 150))) == (KEPT, KEPT)
    assert drawn.getpixel((400, 350)) == REJECTED
    assert drawn.getpixel((200, 150)) == (255, 255, 255)
    assert image.getcolors() == [(240_000, (255, 255, 255))], "the picture itself is as it was"


@pytest.mark.parametrize("size", [(1, 1), (3, 300), (5000, 40)])
def test_boxes_on_pictures_of_any_size(size: tuple[int, int]) -> None:
    drawn = draw_boxes(Image.new("RGB", size), [used("a long name \u4f60\u597d", box=(0, 0, *map(float, size)))])
    assert max(drawn.size) <= 2048
    assert min(drawn.size) >= 1


def test_labels() -> None:
    assert label(used("bo", score=0.931, probability=0.88)) == "bo 0.93, yes 0.88"
    assert label(used("bo", score=0.5, reason="far")) == "bo? 0.50"


def test_drawings_have_names_of_their_own() -> None:
    pictures = [Path(name) for name in ("a/x.jpg", "b/X.png", "x-2.jpg", "c/x.png", "y.jpg")]
    assert drawing_names(pictures) == ["x.png", "X-2.png", "x-2-2.png", "x-3.png", "y.png"]


def test_notebooks_show_captions_escaped(album: Any) -> None:
    rejected = (used(HOSTILE, score=0.4, threshold=0.8, reason="<i>far</i>"),)
    html = result(
        album.scenes / "a_bo.png", used("bo", box=(0, 0, 9, 9), score=0.9), caption=HOSTILE, rejected=rejected
    )._repr_html_()
    assert html.count("<img ") == 1
    assert "&lt;b onload=" in html
    assert "<b onload" not in html
    assert "<i>" not in html
    assert "\x1b" not in html
    assert "<img" not in result(Path("no\0file"))._repr_html_()
    assert "<img" not in result(Path("x" * 5000))._repr_html_()


def test_notebooks_show_concepts_and_databases(database: ConceptDatabase) -> None:
    assert "Bought in Lisbon." in database.find("bo")._repr_html_()
    html = database._repr_html_()
    assert "3 concepts" in html
    assert html.count("<img ") == 3
    database.find("bo").picture.path.unlink()
    assert database._repr_html_().count("<img ") == 2
