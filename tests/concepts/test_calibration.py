"""The threshold that is fitted: strangers stay out, what is kept survives, hostile values do not count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.augment import other_views
from repic_cli.concepts.calibrating import calibrate
from repic_cli.concepts.calibration import Calibration, Scores, fit, load_calibration, save_calibration, shares
from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.search import Retriever
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.embedded.world import Identity, identities, pick, render_reference, render_scene
from repic_plugins.errors import DatabaseError, DataError, OptionError
from repic_plugins.registry import PluginRegistry

if TYPE_CHECKING:
    from repic_cli.concepts.encoders import OpenClipEncoder


def scores(same: float, strangers: float, count: int = 1000, things: int = 100_000) -> Scores:
    rng = np.random.default_rng(0)
    return Scores(same + 0.05 * rng.normal(size=count), strangers + 0.05 * rng.normal(size=count), things)


def test_the_share_of_strangers_is_kept() -> None:
    mixed = scores(0.8, 0.7)
    for target in (0.2, 0.05, 0.01):
        threshold, _, _ = fit(mixed, 0.5, target)
        assert shares(mixed, threshold)[0] == pytest.approx(target, abs=0.01)


def test_between_strangers_and_concepts_when_they_are_apart() -> None:
    threshold, slope, offset = fit(scores(0.9, 0.3), 0.5)
    assert 0.4 < threshold < 0.6
    made = Calibration("e", threshold, 0.02, 1, 1, 0, 0, slope, offset, "database", "")
    assert made.probability(0.9) > 0.9
    assert made.probability(0.3) < 0.1
    chances = [made.probability(score) for score in np.linspace(-1, 1, 21)]
    assert chances == sorted(chances)
    assert all(0 <= chance <= 1 for chance in chances)


def test_few_strangers_do_not_move_the_encoders_guess_far() -> None:
    few, many = (fit(scores(0.9, 0.1, 50, things), 0.85)[0] for things in (2, 3000))
    assert few > 0.75
    assert many < 0.5


@pytest.mark.parametrize("empty", ["same", "strangers"])
def test_one_side_may_be_empty(empty: str) -> None:
    full = scores(0.8, 0.4)
    none = np.zeros(0)
    found = Scores(none, full.strangers, 1000) if empty == "same" else Scores(full.same, none, 0)
    assert all(np.isfinite(fit(found, 0.6)))


@pytest.mark.parametrize("target", [0, 1, -1, 2, float("nan")])
def test_the_target_is_a_share(target: float) -> None:
    with pytest.raises(OptionError, match="a share between 0 and 1"):
        fit(scores(0.8, 0.4), 0.6, target)


@pytest.mark.parametrize(
    "kept", ["", "{", "[]", "{}", '{"threshold": 5}', "null", "1", '"x"', "NaN", "threshold", "infinite", "text"]
)
def test_a_calibration_that_makes_no_sense_does_not_count(tmp_path: Path, kept: str) -> None:
    good = Calibration("e@1", 0.7, 0.02, 10, 10, 0.0, 0.0, 20.0, -14.0, "database", "")
    with ConceptDatabase(tmp_path / "db", create=True) as database:
        assert load_calibration(database, "e@1") is None
        save_calibration(database, good)
        assert load_calibration(database, "e@1") == good
        assert load_calibration(database, "e@2") is None
        values = json.loads(database.setting("calibration:e@1") or "")
        wrong = {"threshold": 7.0, "infinite": float("inf"), "text": "0.7"}
        text = json.dumps({**values, "threshold": wrong[kept]}) if kept in wrong else kept
        database.put_setting("calibration:e@1", text)
        assert load_calibration(database, "e@1") is None


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, encoder: OpenClipEncoder
) -> tuple[Path, list[Identity], list[Identity]]:
    """A database of forty held-out things, and as many that are not in it."""
    folder = tmp_path_factory.mktemp("calibrated")
    rng = np.random.default_rng(8)
    members = pick(rng, identities("held_out"), 80)
    with ConceptDatabase(folder / "db", create=True) as database:
        for number, member in enumerate(members[:40]):
            pictures = []
            for view in range(2 if number % 2 else 1):
                path = folder / f"{number}-{view}.png"
                Image.fromarray(render_reference(rng, member)).save(path)
                pictures.append(read_picture(path))
            vectors = encoder.encode([picture.image for picture in pictures])
            database.add(NewConcept(f"thing {number}", pictures, vectors), "embedded", encoder.id)
    return folder / "db", list(members[:40]), list(members[40:])


def test_a_calibrated_database_tells_strangers(
    world: tuple[Path, list[Identity], list[Identity]], encoder: OpenClipEncoder, registry: PluginRegistry
) -> None:
    folder, members, strangers = world
    grid = registry.build("detector", "grid")
    with ConceptDatabase(folder) as database:
        plain = Retriever(database, encoder, grid)
        assert plain.threshold_from == "the encoder's guess"
        told: list[tuple[int, int]] = []
        made = calibrate(plain, tell=lambda done, total: told.append((done, total)))
        assert told[-1] == (40, 40)
        assert made.named <= 0.05
        assert made.missed <= 0.15
        retriever = Retriever(database, encoder, grid)
        assert (retriever.threshold, retriever.threshold_from) == (made.threshold, "calibrated")
        assert Retriever(database, encoder, grid, threshold=0.3).threshold_from == "given"
        rng = np.random.default_rng(4)
        known = [Image.fromarray(render_scene(rng, [member]).image) for member in members]
        unknown = [Image.fromarray(render_scene(rng, [stranger]).image) for stranger in strangers]
        right = sum(
            f"thing {number}" in {hit.concept.name for hit in found.hits}
            for number, found in enumerate(retriever.find_many(known))
        )
        named = sum(bool(found.hits) for found in retriever.find_many(unknown))
        assert right >= 34
        assert named <= 4


def test_a_folder_of_other_pictures(
    world: tuple[Path, list[Identity], list[Identity]],
    encoder: OpenClipEncoder,
    registry: PluginRegistry,
    tmp_path: Path,
) -> None:
    folder, members, strangers = world
    rng = np.random.default_rng(5)
    pictures = tmp_path / "pictures"
    for number in range(6):
        for place, identity in ((f"thing {number}", members[number]), ("unknown", strangers[number])):
            (pictures / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(render_scene(rng, [identity]).image).save(pictures / place / f"{number}.png")
    (pictures / "unknown" / "broken.png").write_bytes(b"\x89PNG")
    with ConceptDatabase(folder) as database:
        retriever = Retriever(database, encoder, registry.build("detector", "grid"))
        before = load_calibration(database, encoder.id)
        made = calibrate(retriever, pictures, save=False)
        assert (made.same, made.strangers, made.source) == (6, 6, str(pictures))
        assert load_calibration(database, encoder.id) == before
        (pictures / "nobody").mkdir()
        with pytest.raises(DataError, match=r"nobody: no concept 'nobody'.*pictures of strangers go to .*unknown"):
            calibrate(retriever, pictures)
        with pytest.raises(DataError, match="not a folder"):
            calibrate(retriever, tmp_path / "missing")
        with pytest.raises(DataError, match="has no subfolders"):
            calibrate(retriever, pictures / "unknown")


def test_one_concept_alone_cannot_be_calibrated(
    tmp_path: Path, photo: Callable[..., Path], encoder: OpenClipEncoder, registry: PluginRegistry
) -> None:
    with ConceptDatabase(tmp_path / "db", create=True) as database:
        picture = read_picture(photo())
        database.add(NewConcept("bo", [picture], encoder.encode([picture.image])), "embedded", encoder.id)
        retriever = Retriever(database, encoder, registry.build("detector", "whole"))
        with pytest.raises(DatabaseError, match="needs two or more"):
            calibrate(retriever)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (64, 48)])
def test_views_are_pictures_like_it(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "orange")
    views = list(other_views(picture, np.random.default_rng(0), 3))
    assert len(views) == 3
    assert all(view.mode == "RGB" and min(view.size) >= 1 for view in views)
    assert [view.tobytes() for view in views] == [
        view.tobytes() for view in other_views(picture, np.random.default_rng(0), 3)
    ]
