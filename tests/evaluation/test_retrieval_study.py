"""The study of retrieval: who is in its databases and scenes, what it counts, the paper's pipeline, its table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from repic_cli.captioning.results import UsedConcept
from repic_cli.concepts.calibration import load_calibration
from repic_cli.concepts.search import Retriever
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.embedded.world import identities
from repic_cli.evaluation.results import ResultFolder
from repic_cli.evaluation.retrieval_rows import ROWS, Named, PaperRetriever, name_counts, shown_counts
from repic_cli.evaluation.retrieval_study import Cell, Study
from repic_cli.evaluation.retrieval_table import auc, table
from repic_cli.evaluation.retrieval_world import STRANGERS, StudyScene, fill_database, make_scenes, make_world
from repic_cli.evaluation.statistics import estimate
from repic_plugins.manager import load_plugins

if TYPE_CHECKING:
    from repic_cli.concepts.encoders import OpenClipEncoder


@pytest.fixture(scope="module")
def encoder() -> OpenClipEncoder:
    from repic_cli.concepts.encoders import embedded_encoder

    return embedded_encoder()


@pytest.fixture
def retriever(tmp_path: Path, encoder: OpenClipEncoder) -> Iterator[Retriever]:
    world = make_world(10, 0)
    with ConceptDatabase(tmp_path / "db", create=True) as database:
        fill_database(database, world, encoder, 0)
        yield Retriever(database, encoder, load_plugins(enabled=False).build("detector", "grid"))


def scene(*names: str) -> StudyScene:
    from repic_cli.data.images import MemoryImage

    return StudyScene(MemoryImage(Image.new("RGB", (4, 4)), "scene"), names)


@pytest.mark.parametrize("size", [10, 50, 200])
def test_only_held_out_things_are_in_scenes(size: int) -> None:
    world = make_world(size, 1)
    held_out = set(identities("held_out"))
    assert len(world.names) == len(set(world.names.values())) == size
    assert set(world.shown) <= held_out & set(world.names)
    assert set(world.strangers) <= held_out - set(world.names)
    assert len(world.strangers) >= STRANGERS
    assert set(world.names) - set(world.shown) <= set(identities("train"))
    assert make_world(size, 1) == world
    assert make_world(size, 2) != world


def test_scenes_have_their_known_things_and_strangers() -> None:
    world = make_world(50, 0)
    known = {name for identity, name in world.names.items() if identity in world.shown}
    for number in (0, 1, 2, 4):
        scenes = make_scenes(world, number, 4, 0)
        assert all(len(set(each.names)) == number for each in scenes)
        assert all(set(each.names) <= known for each in scenes)
        assert len({each.image.key for each in scenes}) == 4
        again = make_scenes(world, number, 4, 0)
        assert [each.image.open().tobytes() for each in again] == [each.image.open().tobytes() for each in scenes]


def test_names_are_counted_out_of_the_whole_database() -> None:
    scenes = [scene("bo", "luna"), scene("bo"), scene()]
    texts = ["This is <bo> and <gus>.", "Nothing.", "At the left is <gus>."]
    counts = name_counts(texts, scenes, ["bo", "luna", "gus"])
    assert counts == Named((1, 0, 0), (2, 0, 1), (2, 1, 0))
    assert estimate(counts.f1).value == pytest.approx(2 * 1 / (3 + 3))
    assert estimate(counts.precision).value == pytest.approx(1 / 3)
    assert estimate(counts.recall).value == pytest.approx(1 / 3)
    assert estimate(counts.naming).value == pytest.approx(2 / 3)


def test_concepts_left_out_do_not_count_as_shown() -> None:
    kept, left = UsedConcept("bo", "", Path()), UsedConcept("luna", "", Path(), reason="the model says no")
    assert shown_counts([(kept, left)], [scene("bo", "luna")]) == Named((1,), (1,), (2,))


def test_the_papers_pipeline_always_shows_its_k(retriever: Retriever) -> None:
    world = make_world(10, 0)
    paper = PaperRetriever(retriever)
    for each in make_scenes(world, 0, 3, 0):
        found = paper.find(each, 4)
        assert len({used.name for used in found}) == 4
        assert [used.score for used in found] == sorted((used.score or 0 for used in found), reverse=True)
    right = sum(each.names[0] in {used.name for used in paper.find(each, 2)} for each in make_scenes(world, 1, 8, 0))
    assert right >= 7


def test_area_under_the_curve() -> None:
    answers = [
        {"true": there, "score": value} for there, value in ((True, 0.9), (True, 0.4), (False, 0.4), (False, 0.1))
    ]
    assert auc(answers, "score") == pytest.approx(3.5 / 4)
    assert auc(answers[:2], "score") is None


def test_a_study_goes_on_and_makes_its_table(tmp_path: Path, mini_model: Path, encoder: OpenClipEncoder) -> None:
    from repic_cli.models import load

    study = Study(ResultFolder(tmp_path), load(mini_model, device="cpu"), encoder, "grid", 0.0, "crop", 2)
    cells = [Cell(5, 0, known) for known in (0, 2)]
    results = list(study.run(cells))
    assert list(study.run(cells)) == results, "what is kept is not measured again"
    (tmp_path / cells[1].file).unlink()
    assert list(study.run(cells)) == results, "the same again"
    with ConceptDatabase(tmp_path / "databases/size5-0") as database:
        kept = load_calibration(database, encoder.id)
    assert kept is not None, "as after `repic db calibrate`"
    assert {result["threshold"] for result in results} == {kept.threshold}
    shown = results[1]["shown"]
    assert shown["given"] == {"right": [2, 2], "said": [2, 2], "true": [2, 2]}
    assert shown["verified"] == shown["unverified"], "a threshold of 0 keeps all"
    assert shown["paper"]["said"] == [2, 2]
    text = table(results)
    assert all(row in text for row in ROWS.values())
    assert "concepts were put to the model" in text
