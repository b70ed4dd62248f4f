"""A folder of photographs becomes training records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from repic_cli.data.composite import SideBySide
from repic_cli.data.folder import folder_records, read_folder
from repic_cli.data.images import FileImage
from repic_plugins.errors import DataError
from repic_plugins.types import Names, Record, YesNo

MIX = {"oct": 1.0, "vlt": 1.0, "ict": 2.0}
REFERENCES = {1: 0.5, 2: 0.25, 3: 0.25}
COLOURS = {"bo": "red", "thao": "darkred", "gus": "blue", "mira": "green", "ed": "white", "ann": "yellow"}


@pytest.fixture
def things(tmp_path: Path) -> Path:
    """Six concepts with three pictures each, of one colour each."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        (tmp_path / "things" / name).mkdir(parents=True)
        for index in range(3):
            image = Image.new("RGB", (40 + 10 * number, 30 + index), colour)
            image.save(tmp_path / "things" / name / f"{index}.png")
    (tmp_path / "things/bo/info.txt").write_text("A brown\n dog. ")
    return tmp_path / "things"


def owner(image: object) -> str:
    assert isinstance(image, FileImage)
    return image.path.parent.name


def make(things: Path, count: int = 60, seed: int = 0) -> list[Record]:
    return folder_records(read_folder(things), count, MIX, REFERENCES, seed)


def test_shares_of_tasks_and_references(things: Path) -> None:
    records = make(things)
    assert Counter(record.task for record in records) == {"oct": 20, "ict": 40}
    assert Counter(len(record.references) for record in records if record.task == "ict") == {1: 20, 2: 10, 3: 10}
    assert len({record.id for record in records}) == 60


def test_yes_and_no(things: Path) -> None:
    records = [record for record in make(things, 120) if record.task == "oct"]
    assert Counter(record.answer for record in records) == {YesNo(True): 20, YesNo(False): 20}
    for record in records:
        (reference,) = record.references
        assert reference.image != record.image
        assert (owner(reference.image) == owner(record.image)) == record.answer.value  # type: ignore[union-attr]
        assert reference.name == owner(reference.image)


def test_half_of_the_strangers_look_alike(things: Path) -> None:
    records = [record for record in make(things, 600) if record.answer == YesNo(False)]
    against_bo = Counter(owner(record.image) for record in records if record.references[0].name == "bo")
    # Dark red is near red, and so are blue and green; white comes up in the easy half only.
    assert against_bo["thao"] > 2 * against_bo["ed"]


def test_names_of_one_and_of_several(things: Path) -> None:
    for record in make(things):
        if record.task != "ict":
            continue
        assert isinstance(record.answer, Names)
        assert record.answer.required == tuple(reference.name for reference in record.references)
        if len(record.references) == 1:
            assert record.image != record.references[0].image
            assert owner(record.image) == record.references[0].name
        else:
            assert isinstance(record.image, SideBySide)
            assert {owner(part) for part in record.image.parts} == set(record.answer.required)
            assert record.meta["composite"] is True
            assert not {part.key for part in record.image.parts} & {r.image.key for r in record.references}
        assert set(record.meta["identities"]) == {f"folder:{name}" for name in record.answer.required}


def test_absent_concepts_and_strangers(things: Path) -> None:
    records = folder_records(read_folder(things), 400, {"ict": 1}, REFERENCES, 0, absent=0.5, strangers=0.25, most=3)
    more = Counter[str]()
    for record in records:
        assert isinstance(record.answer, Names)
        shown = {reference.name for reference in record.references}
        assert shown == {*record.answer.required, *record.answer.absent}
        assert len(record.references) <= 3
        parts = record.image.parts if isinstance(record.image, SideBySide) else (record.image,)
        there = {owner(part) for part in parts}
        assert there >= set(record.answer.required)
        assert not there & set(record.answer.absent)
        more["absent"] += len(record.answer.absent)
        more["strangers"] += len(there - shown)
    assert 110 < more["absent"] < 190  # half of the three quarters with room for one more
    assert 70 < more["strangers"] < 130


def test_same_seed_same_records(things: Path) -> None:
    assert make(things) == make(things)
    assert make(things) != make(things, seed=1)


def test_info(things: Path) -> None:
    concepts = {concept.name: concept for concept in read_folder(things).concepts}
    assert concepts["bo"].info == "A brown dog."
    assert concepts["gus"].info == ""
    (things / "gus/info.txt").write_text("x" * 3000)
    with pytest.raises(DataError, match="more than 2000 characters"):
        read_folder(things)


def test_bad_pictures_are_noted_and_left_out(things: Path) -> None:
    (things / "bo/9.jpg").write_bytes(b"no picture")
    whole = (things / "gus/0.png").read_bytes()
    (things / "gus/0.png").write_bytes(whole[: len(whole) // 2])
    (things / "empty").mkdir()
    (things / ".hidden").mkdir()
    (things / "lonely").mkdir()
    Image.new("RGB", (9, 9)).save(things / "lonely/1.png")
    folder = read_folder(things)
    assert len(folder.notes) == 2 and len(folder.bad) == 2
    assert any("bo/9.jpg" in note for note in folder.bad)
    assert any("gus/0.png" in note for note in folder.bad)
    assert {len(concept.images) for concept in folder.concepts} == {1, 2, 3}
    records = folder_records(folder, 200, MIX, REFERENCES, 0)
    used = {reference.name for record in records for reference in record.references}
    assert "lonely" not in used, "nothing can be asked about a single picture"
    assert any(owner(record.image) == "lonely" for record in records if record.answer == YesNo(False))


def test_folders_that_cannot_be_used(things: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_folder(tmp_path / "nothing")
    with pytest.raises(DataError, match="one sub-folder per concept"):
        read_folder(things / "bo")
    (tmp_path / "one").mkdir()
    with pytest.raises(DataError, match="no sub-folder with two usable pictures"):
        read_folder(tmp_path / "one")
    (things / "bo").rename(things / "Gus")
    with pytest.raises(DataError, match="would have the same name"):
        read_folder(things)
    (things / "Gus").rename(things / "a,b")
    with pytest.raises(DataError, match="the name of the folder is the concept's"):
        read_folder(things)


def test_one_concept_has_nothing_to_say_no_to(things: Path) -> None:
    for name in COLOURS:
        if name != "bo":
            (things / name).rename(things.parent / name)
    records = make(things, 10)
    assert {record.task for record in records} == {"ict"}
    assert {len(record.references) for record in records} == {1}
    with pytest.raises(DataError, match="cannot make any of the tasks oct"):
        folder_records(read_folder(things), 10, {"oct": 1}, REFERENCES, 0)


def test_side_by_side(things: Path) -> None:
    row = SideBySide((FileImage(things / "bo/0.png"), FileImage(things / "gus/2.png")))
    picture = row.open()
    assert row.size == picture.size == (40 + round(60 * 30 / 32), 30)
    assert picture.getpixel((2, 2)) == (255, 0, 0)
    assert picture.getpixel((90, 2)) == (0, 0, 255)
    assert row.key != SideBySide(row.parts[::-1]).key


def test_photographs(repic_pack: Path) -> None:
    folder = read_folder(repic_pack / "queries/dreambooth")
    assert len(folder.concepts) == 20
    assert not folder.notes
    near = folder_records(folder, 200, MIX, REFERENCES, 0)
    assert Counter(record.task for record in near) == {"oct": 67, "ict": 133}
