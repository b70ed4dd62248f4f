"""A small database of the embedded world, a model that answers with noise, and a way to call `repic`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from PIL import Image

from repic_cli.app import main
from repic_cli.concepts.concept import NewConcept
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.embedded.world import identities, pick, render_reference, render_scene

if TYPE_CHECKING:
    from repic_cli.concepts.encoders import OpenClipEncoder
    from repic_cli.models import Backbone


class Album(NamedTuple):
    """`database` has bo, thao and gus; `scenes` has pictures of bo, of thao and gus, and of a stranger."""

    database: Path
    scenes: Path


@pytest.fixture(scope="session")
def encoder() -> OpenClipEncoder:
    from repic_cli.concepts.encoders import embedded_encoder

    return embedded_encoder()


@pytest.fixture(scope="session")
def shared_album(tmp_path_factory: pytest.TempPathFactory, encoder: OpenClipEncoder) -> Album:
    folder = tmp_path_factory.mktemp("album")
    rng = np.random.default_rng(8)
    members = pick(rng, identities("held_out"), 4)
    with ConceptDatabase(folder / "mydb", create=True) as database:
        for name, member in zip(("bo", "thao", "gus"), members, strict=False):
            path = folder / f"{name}.png"
            Image.fromarray(render_reference(rng, member)).save(path)
            pictures = [read_picture(path)]
            vectors = encoder.encode([pictures[0].image])
            info = "Bought in Lisbon." if name == "bo" else ""
            database.add(NewConcept(name, pictures, vectors, info), "embedded", encoder.id)
    scenes = folder / "scenes"
    scenes.mkdir()
    for name, shown in (("a_bo", members[:1]), ("b_two", members[1:3]), ("c_stranger", members[3:])):
        Image.fromarray(render_scene(rng, shown).image).save(scenes / f"{name}.png")
    return Album(folder / "mydb", scenes)


@pytest.fixture
def album(tmp_path: Path, shared_album: Album) -> Album:
    """A copy that a test may spoil."""
    for folder in shared_album:
        shutil.copytree(folder, tmp_path / folder.name)
    return Album(tmp_path / "mydb", tmp_path / "scenes")


@pytest.fixture(scope="session")
def noise_model(mini_model: Path) -> Backbone:
    from repic_cli.models import load

    return load(mini_model)


@pytest.fixture
def database(album: Album) -> Iterator[ConceptDatabase]:
    with ConceptDatabase(album.database) as opened:
        yield opened


@pytest.fixture
def repic(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `repic` in this process: exit code, stdout, stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call
