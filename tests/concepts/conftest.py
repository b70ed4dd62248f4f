"""Real encoder, real databases, pictures of the embedded world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from repic_cli.concepts.concept import Concept, NewConcept
from repic_cli.concepts.pictures import read_picture
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.embedded.world import Identity, identities, pick, render_reference
from repic_plugins.manager import load_plugins
from repic_plugins.registry import PluginRegistry

if TYPE_CHECKING:
    from repic_cli.concepts.encoders import OpenClipEncoder


@pytest.fixture(scope="session")
def registry() -> PluginRegistry:
    return load_plugins(enabled=False)


@pytest.fixture(scope="session")
def encoder() -> OpenClipEncoder:
    from repic_cli.concepts.encoders import embedded_encoder

    return embedded_encoder()


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Make a picture file of noise: the same seed gives the same pixels."""

    def make(name: str = "photo.png", seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
        path = tmp_path / name
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return make


@pytest.fixture
def add(photo: Callable[..., Path]) -> Callable[..., Concept]:
    """Put a concept with noise pictures and unit vectors into a database, without an encoder."""

    def put(database: ConceptDatabase, name: str, seeds: Sequence[int] = (0,), **texts: str) -> Concept:
        pictures = [read_picture(photo(f"{seed}.png", seed)) for seed in seeds]
        vectors = np.eye(4, dtype=np.float32)[[seed % 4 for seed in seeds]]
        return database.add(NewConcept(name, pictures, vectors, **texts), "embedded", "embedded@test")

    return put


@pytest.fixture(scope="session")
def stored_files() -> Callable[[ConceptDatabase], set[str]]:
    """All files of the pictures folder, hidden ones included."""
    return lambda database: {path.name for path in database.pictures.iterdir()}


@pytest.fixture
def things(tmp_path: Path) -> Callable[..., list[tuple[Identity, Path]]]:
    """Held-out identities of the embedded world, each with the file of a reference picture."""

    def make(count: int, seed: int = 0) -> list[tuple[Identity, Path]]:
        rng = np.random.default_rng([seed, 1])
        made = []
        for identity in pick(rng, identities("held_out"), count):
            path = tmp_path / f"{identity.phrase.replace(' ', '_')}_{seed}.png"
            Image.fromarray(render_reference(rng, identity)).save(path)
            made.append((identity, path))
        return made

    return make
