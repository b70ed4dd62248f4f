"""Sidecar files: the caption and the names beside each picture, for photo managers (XMP) or scripts (JSON).

`photo.jpg` gets `photo.jpg.xmp` (the name that darktable and digiKam look for) or `photo.jpg.repic.json`
(`photo.jpg.json` is what Google Takeout writes). A sidecar that repic did not write is left alone.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as XML

from repic_cli.captioning.results import CaptionResult, UsedConcept
from repic_cli.files import write_file
from repic_plugins.errors import DataError

Kind = Literal["xmp", "json"]
TOOL = "repic"
PEOPLE = frozenset("person people man woman boy girl child baby human friend face".split())
"""Categories whose concepts XMP lists as persons in the picture."""
NAMES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
_MARK = f"<xmp:CreatorTool>{TOOL}</xmp:CreatorTool>"
_MOST = 1 << 20


def sidecar_path(picture: str | Path, kind: Kind) -> Path:
    """Where the sidecar of a picture lies."""
    picture = Path(picture)
    return picture.with_name(picture.name + (".xmp" if kind == "xmp" else ".repic.json"))


def write_sidecar(result: CaptionResult, size: tuple[int, int], kind: Kind) -> Path:
    """Write the sidecar of a captioned picture of `size` (width, height); gives its path.

    Raises `DataError` if another program's sidecar is there.
    """
    path = sidecar_path(result.image, kind)
    if kind == "json":
        write_file(path, json.dumps(result.to_dict(), indent=1) + "\n")
        return path
    if (path.exists() or path.is_symlink()) and not _is_ours(path):
        raise DataError(f"{path}: written by another program; it was left as it is")
    write_file(path, xmp(result.caption, result.concepts, size))
    return path


def xmp(caption: str, concepts: Sequence[UsedConcept], size: tuple[int, int]) -> str:
    """An XMP packet: `dc:description`, names as keywords, persons (IPTC), and a named region for each known box."""
    for prefix, address in NAMES.items():
        XML.register_namespace(prefix, address)
    root = XML.Element(_tag("x:xmpmeta"))
    about = XML.SubElement(XML.SubElement(root, _tag("rdf:RDF")), _tag("rdf:Description"), {_tag("rdf:about"): ""})
    XML.SubElement(about, _tag("xmp:CreatorTool")).text = TOOL
    _alternatives(about, "dc:description", caption)
    _bag(about, "dc:subject", [used.name for used in concepts])
    _bag(about, "Iptc4xmpExt:PersonInImage", [used.name for used in concepts if _is_person(used)])
    _regions(about, concepts, size)
    XML.indent(root)
    return f"{XML.tostring(root, encoding='unicode')}\n"


def _regions(parent: XML.Element, concepts: Sequence[UsedConcept], size: tuple[int, int]) -> None:
    """Boxes as IPTC image regions, in parts of the upright picture's sides."""
    placed = [used for used in concepts if used.box is not None]
    if not placed:
        return
    bag = XML.SubElement(XML.SubElement(parent, _tag("Iptc4xmpExt:ImageRegion")), _tag("rdf:Bag"))
    for used in placed:
        x1, y1, x2, y2 = used.box or (0, 0, 0, 0)
        item = XML.SubElement(bag, _tag("rdf:li"), {_tag("rdf:parseType"): "Resource"})
        _alternatives(item, "Iptc4xmpExt:Name", used.name)
        edge = XML.SubElement(item, _tag("Iptc4xmpExt:RegionBoundary"), {_tag("rdf:parseType"): "Resource"})
        values = (x1 / size[0], y1 / size[1], (x2 - x1) / size[0], (y2 - y1) / size[1])
        facts = {"rbShape": "rectangle", "rbUnit": "relative"}
        facts |= {name: f"{value:.5f}" for name, value in zip(("rbX", "rbY", "rbW", "rbH"), values, strict=True)}
        for name, text in facts.items():
            XML.SubElement(edge, _tag(f"Iptc4xmpExt:{name}")).text = text


def _alternatives(parent: XML.Element, name: str, text: str) -> None:
    box = XML.SubElement(XML.SubElement(parent, _tag(name)), _tag("rdf:Alt"))
    item = XML.SubElement(box, _tag("rdf:li"), {"{http://www.w3.org/XML/1998/namespace}lang": "x-default"})
    item.text = _printable(text)


def _bag(parent: XML.Element, name: str, texts: Sequence[str]) -> None:
    if texts:
        bag = XML.SubElement(XML.SubElement(parent, _tag(name)), _tag("rdf:Bag"))
        for text in texts:
            XML.SubElement(bag, _tag("rdf:li")).text = _printable(text)


def _tag(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{NAMES[prefix]}}}{local}"


def _printable(text: str) -> str:
    """Without the control characters and lone surrogates that XML cannot hold, whatever the model wrote."""
    kept = (char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Cn"))
    return "".join(kept)


def _is_person(used: UsedConcept) -> bool:
    return used.category.casefold() in PEOPLE


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_MOST)
