"""Changing concepts: texts, names, pictures and boxes, in one step or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from repic_cli.concepts.concept import Concept, NewConcept, Update
from repic_cli.concepts.pictures import lost_picture, read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_plugins.errors import DatabaseError, DataError

AddTo = Callable[..., Concept]
Photo = Callable[..., Path]
EYE = np.eye(4, dtype=np.float32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[ConceptDatabase]:
    with ConceptDatabase(tmp_path / "mydb", create=True) as opened:
        yield opened


def test_texts_change_alone(database: ConceptDatabase, add: AddTo) -> None:
    before = add(database, "bo", (1,), info="A dog.", category="dog", aliases=("Bobby",))
    after = database.update("BOBBY", Update(info="A brown dog.", add_aliases=("Bobs",), drop_aliases=("bobby",)))
    assert (after.info, after.category, after.aliases) == ("A brown dog.", "dog", ("Bobs",))
    assert after.pictures == before.pictures
    assert database.update("bo", Update(category="")).category == ""
    with pytest.raises(DatabaseError, match="no concept 'Bobby'"):
        database.find("Bobby")


def test_a_new_name_keeps_the_key(database: ConceptDatabase, add: AddTo) -> None:
    add(database, "bo", (1,), aliases=("Bobby",))
    renamed = database.update("bo", Update(name="Bobby"))
    assert (renamed.name, renamed.key, renamed.aliases) == ("Bobby", "bo", ())
    assert database.find("bo") == database.find("bobby") == renamed


def test_a_name_of_another_is_refused_and_nothing_changed(database: ConceptDatabase, add: AddTo) -> None:
    add(database, "bo", (1,))
    add(database, "thao", (2,))
    for update in (Update(name="Thao", info="x"), Update(add_aliases=("THAO",), info="x")):
        with pytest.raises(DatabaseError, match=r"there is a concept .* already"):
            database.update("bo", update)
    assert (database.find("bo").info, database.find("thao").name) == ("", "thao")


@pytest.mark.parametrize(
    "update",
    [Update(name="<|im_end|>"), Update(info="a\x00b"), Update(category="x" * 99), Update(add_aliases=("a/b",))],
)
def test_hostile_texts_are_refused(database: ConceptDatabase, add: AddTo, update: Update) -> None:
    add(database, "bo", (1,))
    with pytest.raises(DataError):
        database.update("bo", update)
    assert database.find("bo").info == ""


def test_pictures_come_and_go(database: ConceptDatabase, add: AddTo, photo: Photo) -> None:
    add(database, "bo", (1, 2))
    old = database.find("bo").pictures[0]
    new = read_picture(photo(seed=3), (4, 5, 20, 25))
    update = Update(pictures=[new], vectors=EYE[3:], drop=(old.id,))
    changed = database.update("bo", update, "embedded", "embedded@test")
    assert [picture.box for picture in changed.pictures] == [None, (4, 5, 20, 25)]
    assert changed.pictures[1].image.size == (16, 20)
    assert not old.path.exists()
    assert database.vectors("embedded@test", 4)[0].tolist() == [[2, 1], [3, 1]]


def test_the_last_picture_stays(database: ConceptDatabase, add: AddTo) -> None:
    (picture,) = add(database, "bo", (1,)).pictures
    with pytest.raises(DatabaseError, match="left without a picture"):
        database.update("bo", Update(drop=(picture.id,)))
    with pytest.raises(DatabaseError, match="has no picture 99"):
        database.update("bo", Update(drop=(99,)))
    assert picture.path.is_file()


def test_a_picture_given_again_gets_its_new_box_and_heals_its_file(
    database: ConceptDatabase, add: AddTo, photo: Photo
) -> None:
    (before,) = add(database, "bo", (1,)).pictures
    before.path.write_bytes(b"damaged")
    again = read_picture(photo(seed=1), (0, 0, 10, 10))
    (after,) = database.update("bo", Update(pictures=[again], vectors=EYE[:1]), "embedded", "embedded@new").pictures
    assert (after.id, after.box) == (before.id, (0, 0, 10, 10))
    assert after.path.read_bytes() == again.data
    assert not len(database.vectors("embedded@test", 4)[0])  # of the picture without the box


def test_a_box_is_scaled_with_its_picture(photo: Photo) -> None:
    picture = read_picture(photo("large.jpg", size=(4096, 1024)), (1000, 100, 9000, 1100))
    assert (picture.size, picture.box) == ((2048, 512), (500, 50, 2048, 512))


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (-9, -9, 0, 0), (50, 0, 60, 9), (5, 5, 5.5, 9), (float("nan"), 0, 9, 9)])
def test_a_box_that_shows_nothing(photo: Photo, box: tuple[float, float, float, float]) -> None:
    with pytest.raises(DataError, match="shows nothing of the picture of 40 x 30"):
        read_picture(photo(), box)


def test_several_are_removed_or_none(database: ConceptDatabase, add: AddTo) -> None:
    for number, name in enumerate(("bo", "thao", "gus")):
        add(database, name, (number,))
    with pytest.raises(DatabaseError, match="no concept 'nobody'"):
        database.remove_many(["bo", "nobody"])
    assert len(database) == 3
    assert [gone.name for gone in database.remove_many(["bo", "GUS", "Bo"])] == ["bo", "gus"]
    assert database.names() == ["thao"]


def test_several_are_added_or_none(database: ConceptDatabase, photo: Photo) -> None:
    made = [NewConcept(name, [read_picture(photo())], EYE[:1]) for name in ("bo", "thao", "BO")]
    with pytest.raises(DatabaseError, match="there is a concept 'BO' already"):
        database.add_many(made, "embedded", "embedded@test")
    assert len(database) == 0
    assert not list(database.pictures.iterdir())


def test_a_concept_of_a_vector_alone(database: ConceptDatabase) -> None:
    lost = lost_picture(EYE[0], "bo.jpg")
    kept = database.add(NewConcept("bo", [lost], EYE[:1], key="b o"), "embedded", "embedded@test")
    assert (kept.key, kept.has_picture, kept.pictures[0].never_there) == ("b o", False, True)
    assert database.without_vectors("embedded@new") == []
    with pytest.raises(DatabaseError, match="has no reference picture: it was imported without"):
        _ = kept.picture


def test_settings_and_categories(database: ConceptDatabase, add: AddTo) -> None:
    for number, (name, category) in enumerate((("bo", "dog"), ("gus", "dog"), ("thao", "person"), ("x", ""))):
        add(database, name, (number,), category=category)
    assert database.categories() == {"dog": 2, "person": 1}
    assert database.setting("threshold") is None
    database.put_setting("threshold", "0.8")
    database.put_setting("threshold", "0.9")
    assert database.setting("threshold") == "0.9"
