"""Retrieval on held-out identities of the embedded world, with the real encoder and detector."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.adding import add_concept
from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.search import Retriever
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.embedded.world import Identity, identities, pick, render_reference, render_scene
from repic_plugins.errors import DatabaseError, DataError, OptionError
from repic_plugins.registry import PluginRegistry
from repic_plugins.types import Proposal

if TYPE_CHECKING:
    from repic_cli.concepts.encoders import OpenClipEncoder

Things = Callable[..., list[tuple[Identity, Path]]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, encoder: OpenClipEncoder) -> tuple[Path, list[Identity]]:
    """A database of eight held-out things, called thing 0 to thing 7."""
    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(3)
    members = pick(rng, identities("held_out"), 8)
    with ConceptDatabase(folder / "mydb", create=True) as database:
        for number, member in enumerate(members):
            path = folder / f"{number}.png"
            Image.fromarray(render_reference(rng, member)).save(path)
            pictures = [read_picture(path)]
            vectors = encoder.encode([pictures[0].image])
            database.add(NewConcept(f"thing {number}", pictures, vectors, member.phrase), "embedded", encoder.id)
    return folder / "mydb", members


@pytest.fixture
def mine(tmp_path: Path, prepared: tuple[Path, list[Identity]]) -> Iterator[tuple[ConceptDatabase, list[Identity]]]:
    """A copy of it."""
    shutil.copytree(prepared[0], tmp_path / "mydb")
    with ConceptDatabase(tmp_path / "mydb") as database:
        yield database, prepared[1]


def test_the_right_concepts_are_found_at_their_places(
    mine: tuple[ConceptDatabase, list[Identity]], encoder: OpenClipEncoder, registry: PluginRegistry, things: Things
) -> None:
    database, members = mine
    strangers = [identity for identity, _ in things(4, seed=9) if identity not in members]
    retriever = Retriever(database, encoder, registry.build("detector", "grid"))
    rng = np.random.default_rng(1)
    right = wrong = missed = 0
    for _ in range(12):
        shown = [int(number) for number in rng.choice(8, 2, replace=False)]
        scene = render_scene(rng, [members[number] for number in shown] + strangers[:1])
        found = retriever.find(Image.fromarray(scene.image))
        names = {hit.concept.name for hit in found.hits}
        truth = {f"thing {number}" for number in shown}
        right, wrong, missed = right + len(names & truth), wrong + len(names - truth), missed + len(truth - names)
        for hit in found.hits:
            places = [p for p in scene.objects if p.identity.phrase == hit.concept.info]
            middle = (hit.box[0] + hit.box[2]) / 2, (hit.box[1] + hit.box[3]) / 2
            assert all(np.hypot(p.center[0] - middle[0], p.center[1] - middle[1]) < 15 for p in places)
        assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)
    assert right / (right + missed) >= 0.85
    assert wrong <= 2


def test_strangers_stay_unnamed(
    mine: tuple[ConceptDatabase, list[Identity]], encoder: OpenClipEncoder, registry: PluginRegistry, things: Things
) -> None:
    database, members = mine
    retriever = Retriever(database, encoder, registry.build("detector", "grid"))
    strangers = [identity for identity, _ in things(12, seed=11) if identity not in members]
    rng = np.random.default_rng(2)
    named = 0
    for stranger in strangers:
        found = retriever.find(Image.fromarray(render_scene(rng, [stranger]).image))
        named += len(found.hits)
        assert found.hits or (found.nearest is not None and found.nearest.score < retriever.threshold)
    assert named <= 2


def test_threshold_and_number_are_options(
    mine: tuple[ConceptDatabase, list[Identity]], encoder: OpenClipEncoder, registry: PluginRegistry
) -> None:
    database, members = mine
    whole = registry.build("detector", "whole")
    picture = Image.fromarray(render_scene(np.random.default_rng(5), members[:1]).image)
    assert len(Retriever(database, encoder, whole, threshold=-1).find(picture).hits) == 1  # one place, one concept
    assert Retriever(database, encoder, whole, threshold=1).find(picture).hits == ()
    grid = registry.build("detector", "grid")
    crowd = Image.fromarray(render_scene(np.random.default_rng(6), members[:4]).image)
    assert len(Retriever(database, encoder, grid, threshold=-1, most=2).find(crowd).hits) == 2
    with pytest.raises(OptionError, match="a cosine lies between"):
        Retriever(database, encoder, grid, threshold=1.5)


def test_several_pictures_of_a_concept_give_one_hit(
    tmp_path: Path, things: Things, encoder: OpenClipEncoder, registry: PluginRegistry
) -> None:
    ((_, first),) = things(1, seed=4)
    pictures = [first, first.with_name("other.png")]
    Image.open(first).rotate(5).save(pictures[1])
    add_concept(tmp_path / "mydb", registry, "bo", pictures)
    with ConceptDatabase(tmp_path / "mydb") as database:
        retriever = Retriever(database, encoder, registry.build("detector", "whole"), threshold=0.5)
        assert len(retriever.index) == 2
        (hit,) = retriever.find(Image.open(first).convert("RGB")).hits
        assert (hit.concept.name, hit.picture.source) == ("bo", first.name)
        assert hit.score > 0.9


class Fixed:
    """A detector whose answers the test chooses (plugins give what they like)."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes = boxes

    def propose(self, image: Image.Image) -> list[Proposal]:
        return [Proposal(box, 0.5, "thing") for box in self.boxes]


def test_proposals_are_cut_to_the_picture(
    mine: tuple[ConceptDatabase, list[Identity]], encoder: OpenClipEncoder
) -> None:
    database, members = mine
    picture = Image.fromarray(render_scene(np.random.default_rng(5), members[:1]).image)
    whole = (0.0, 0.0, 112.0, 112.0)
    nan = float("nan")
    detector = Fixed((-50, -50, 500, 500), (200, 200, 300, 300), (5, 5, 5, 90), (9, 9, 3, 3), (nan, 0, 10, 10))
    assert [proposal.box for proposal in Retriever(database, encoder, detector).propose(picture)] == [whole]
    assert [proposal.box for proposal in Retriever(database, encoder, Fixed()).propose(picture)] == [whole]
    dot = Image.new("RGB", (1, 1), "red")
    assert Retriever(database, encoder, Fixed((0, 0, 1, 1))).find(dot).places == 1


def test_several_pictures_at_once_are_as_one_by_one(
    mine: tuple[ConceptDatabase, list[Identity]], encoder: OpenClipEncoder, registry: PluginRegistry
) -> None:
    database, members = mine
    retriever = Retriever(database, encoder, registry.build("detector", "grid"))
    rng = np.random.default_rng(7)
    pictures = [Image.fromarray(render_scene(rng, members[i : i + 2]).image) for i in range(4)]
    together = retriever.find_many(pictures)
    for picture, found in zip(pictures, together, strict=True):
        alone = retriever.find(picture)
        assert [(hit.concept.name, hit.box) for hit in alone.hits] == [
            (hit.concept.name, hit.box) for hit in found.hits
        ]
        assert alone.places == found.places
    assert retriever.find_many([]) == []


def test_what_is_rejected_is_told_with_its_reason(
    mine: tuple[ConceptDatabase, list[Identity]], encoder: OpenClipEncoder
) -> None:
    database, members = mine
    picture = Image.fromarray(render_scene(np.random.default_rng(5), members[:1]).image)
    whole = Fixed((0, 0, 112, 112))
    near = Retriever(database, encoder, whole, threshold=-1).find(picture)
    (hit,) = near.hits
    assert hit.label == "thing"
    assert {one.reason for one in near.rejected} == {f"{hit.concept.name} is nearer at this place"}
    far = Retriever(database, encoder, whole, threshold=1).find(picture)
    assert {one.reason for one in far.rejected} == {"not near enough"}
    assert far.nearest == far.rejected[0].hit
    assert far.nearest is not None
    assert far.nearest.concept.name == hit.concept.name


def test_concepts_count_from_the_moment_they_are_there(
    mine: tuple[ConceptDatabase, list[Identity]], encoder: OpenClipEncoder, registry: PluginRegistry, things: Things
) -> None:
    """A retriever lives long, in a notebook or a server; others add and remove meanwhile."""
    database, members = mine
    retriever = Retriever(database, encoder, registry.build("detector", "grid"))
    (identity, path) = next(pair for pair in things(9, seed=21) if pair[0] not in members)
    scene = Image.fromarray(render_scene(np.random.default_rng(1), [identity]).image)
    assert "fresh" not in {hit.concept.name for hit in retriever.find(scene).hits}
    add_concept(database.folder, registry, "fresh", [path])
    assert "fresh" in {hit.concept.name for hit in retriever.find(scene).hits}
    with ConceptDatabase(database.folder) as other:
        other.remove("fresh")
    assert "fresh" not in {hit.concept.name for hit in retriever.find(scene).hits}


def test_empty_database(tmp_path: Path, encoder: OpenClipEncoder, registry: PluginRegistry) -> None:
    whole = registry.build("detector", "whole")
    with (
        ConceptDatabase(tmp_path / "mydb", create=True) as database,
        pytest.raises(DatabaseError, match="the database is empty"),
    ):
        Retriever(database, encoder, whole)


def test_a_new_version_of_the_encoder_reads_the_pictures_again(
    mine: tuple[ConceptDatabase, list[Identity]], encoder: OpenClipEncoder, registry: PluginRegistry
) -> None:
    database, _ = mine
    newer = registry.build("encoder", "embedded")
    newer.id = "embedded@newer"
    (database.concepts()[0].pictures[0].path).unlink()
    retriever = Retriever(database, newer, registry.build("detector", "whole"))
    assert len(retriever.index) == 7  # the missing picture is passed over
    assert len(database.vectors(encoder.id, encoder.dimension)[0]) == 8


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "<|image_pad|>"}, DataError, "would read as a special token|holds"),
        ({"name": "../../etc/passwd"}, DataError, "looks like a path"),
        ({"name": "<b>bo</b><script>"}, DataError, "angle bracket"),
        ({"name": "a\x1bb"}, DataError, "control character"),
        ({"name": "x" * 101}, DataError, "the most is 100"),
        ({"info": "</s>"}, DataError, "special token"),
        ({"info": "x" * 2001}, DataError, "the most is 2000"),
        ({"pictures": ["missing.png"]}, DataError, "missing.png: no such picture"),
        ({"pictures": []}, DataError, "has no picture"),
        ({"encoder": "nonsense"}, Exception, "unknown encoder 'nonsense'"),
    ],
)
def test_what_cannot_be_added_leaves_no_database(
    tmp_path: Path,
    photo: Callable[..., Path],
    registry: PluginRegistry,
    change: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    given = {"name": "bo", "pictures": [photo()], **change}
    with pytest.raises(error, match=message):
        add_concept(tmp_path / "mydb", registry, **given)  # type: ignore[arg-type]
    assert not (tmp_path / "mydb").exists()


def test_one_bad_picture_among_good_ones(tmp_path: Path, photo: Callable[..., Path], registry: PluginRegistry) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(photo("good.jpg").read_bytes()[:400])
    with pytest.raises(DataError, match=r"bad\.jpg: the picture is truncated"):
        add_concept(tmp_path / "mydb", registry, "bo", [photo(), bad])
    assert not (tmp_path / "mydb").exists()


def test_the_encoder_of_a_database_is_kept(
    tmp_path: Path, photo: Callable[..., Path], registry: PluginRegistry
) -> None:
    add_concept(tmp_path / "mydb", registry, "bo", [photo()])
    add_concept(tmp_path / "mydb", registry, "thao", [photo()], encoder="embedded")
    # Refused before the other encoder is loaded, which would need the Hub.
    with pytest.raises(DatabaseError, match="uses the encoder embedded, not ViT-L-14-336:openai"):
        add_concept(tmp_path / "mydb", registry, "gus", [photo()], encoder="ViT-L-14-336:openai")


def test_real_references(tmp_path: Path, repic_pack: Path, encoder: OpenClipEncoder, registry: PluginRegistry) -> None:
    """DreamBooth folders: photographs of any kind go in and come out, though this encoder cannot tell them apart."""
    folders = sorted((repic_pack / "queries/dreambooth").iterdir())[:3]
    for folder in folders:
        add_concept(tmp_path / "mydb", registry, folder.name, sorted(folder.iterdir())[:2], category="thing")
    with ConceptDatabase(tmp_path / "mydb") as database:
        assert {concept.name for concept in database.concepts()} == {folder.name for folder in folders}
        retriever = Retriever(database, encoder, registry.build("detector", "grid"), threshold=0.0)
        with Image.open(sorted(folders[0].iterdir())[2]) as query:
            hits = retriever.find(query.convert("RGB")).hits
        assert hits
        assert all(0 <= hit.box[0] < hit.box[2] for hit in hits)
