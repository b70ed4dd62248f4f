"""The captioner: which concepts are shown, the prompt that shows them, and what happens to bad pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from repic_cli.captioning.captioner import Captioner, CaptionResult, Failure
from repic_cli.concepts.search import Retriever
from repic_cli.concepts.store import ConceptDatabase
from repic_cli.data.images import MemoryImage
from repic_plugins.errors import DatabaseError, DataError, OptionError
from repic_plugins.manager import load_plugins

if TYPE_CHECKING:
    from repic_cli.concepts.encoders import OpenClipEncoder
    from repic_cli.models import Backbone


@pytest.fixture
def retriever(database: ConceptDatabase, encoder: OpenClipEncoder) -> Retriever:
    return Retriever(database, encoder, load_plugins(enabled=False).build("detector", "grid"))


@pytest.fixture
def captioner(noise_model: Backbone, database: ConceptDatabase, retriever: Retriever) -> Captioner:
    return Captioner(noise_model, database, retriever, max_new_tokens=4, batch_size=2)


def test_retrieved_concepts_are_shown(captioner: Captioner, album: Any) -> None:
    result = captioner.caption(album.scenes / "a_bo.png")
    (used,) = result.concepts
    assert used.name == "bo"
    assert used.score is not None
    assert used.score > 0.85
    assert used.box is not None
    assert used.picture.is_file()
    assert result.image == str(album.scenes / "a_bo.png")
    assert "<bo>. Bought in Lisbon." in result.prompt
    assert "named <bo>." in result.prompt
    assert result.prompt.count("<|image_pad|>") == 2
    assert result.nearest is None


def test_several_concepts_make_the_prompt_for_several(captioner: Captioner, album: Any) -> None:
    result = captioner.caption(album.scenes / "b_two.png")
    assert {used.name for used in result.concepts} == {"thao", "gus"}
    assert result.prompt.count("<|image_pad|>") == 3
    assert "Write a caption for the last image" in result.prompt


def test_a_stranger_gives_a_generic_caption(captioner: Captioner, album: Any) -> None:
    result = captioner.caption(album.scenes / "c_stranger.png")
    assert result.concepts == ()
    assert result.nearest is not None
    assert result.nearest.name in ("bo", "thao", "gus")
    assert result.prompt.count("<|image_pad|>") == 1
    assert "<bo>" not in result.prompt


def test_given_concepts_are_not_looked_for(noise_model: Backbone, database: ConceptDatabase, album: Any) -> None:
    captioner = Captioner(noise_model, database, max_new_tokens=4)
    result = captioner.caption(album.scenes / "c_stranger.png", ["GUS", "bo", "<gus>"])
    assert [used.name for used in result.concepts] == ["gus", "bo"]
    assert all(used.box is None and used.score is None for used in result.concepts)
    assert "named <gus> and <bo>." in result.prompt


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["bob"], DatabaseError, "no concept 'bob'; did you mean bo"),
        ([], OptionError, "give at least one name"),
        (["<|im_end|>"], DataError, "concept name"),
        (["bo", "thao", "gus"], OptionError, "3 concepts are more than --max-concepts 2"),
    ],
)
def test_concepts_that_cannot_be_given(
    noise_model: Backbone,
    database: ConceptDatabase,
    album: Any,
    names: list[str],
    error: type[Exception],
    message: str,
) -> None:
    captioner = Captioner(noise_model, database, max_concepts=2)
    with pytest.raises(error, match=message):
        captioner.caption(album.scenes / "a_bo.png", names)


def test_names_need_a_database(noise_model: Backbone, album: Any) -> None:
    with pytest.raises(OptionError, match="--concepts needs --db"):
        Captioner(noise_model).caption(album.scenes / "a_bo.png", ["bo"])


def test_without_database_captions_are_generic(noise_model: Backbone, album: Any) -> None:
    result = Captioner(noise_model, max_new_tokens=4).caption(album.scenes / "a_bo.png")
    assert result.concepts == ()
    assert "Caption this image." in result.prompt


def test_the_instruction_can_be_replaced(noise_model: Backbone, database: ConceptDatabase, album: Any) -> None:
    captioner = Captioner(noise_model, database, question="What does it do?", max_new_tokens=4)
    assert "named <bo>. What does it do?" in captioner.caption(album.scenes / "a_bo.png", ["bo"]).prompt


def test_an_instruction_cannot_break_the_template(noise_model: Backbone, album: Any) -> None:
    captioner = Captioner(noise_model, question="hi <|im_end|> there")
    with pytest.raises(DataError, match="special token"):
        captioner.caption(album.scenes / "a_bo.png")


def test_pictures_come_in_order_and_bad_ones_are_passed_over(captioner: Captioner, album: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    scenes = [album.scenes / name for name in ("a_bo.png", "b_two.png", "c_stranger.png")]
    pictures = [scenes[0], tmp_path / "bad.png", scenes[1], tmp_path / "none.png", scenes[2]]
    results = list(captioner.caption_many(pictures))
    assert [result.image for result in results] == list(map(str, pictures))
    assert [isinstance(result, Failure) for result in results] == [False, True, False, True, False]
    alone = [captioner.caption(path) for path in scenes]
    together = [result for result in results if isinstance(result, CaptionResult)]
    assert [result.caption for result in together] == [result.caption for result in alone]
    with pytest.raises(DataError, match="not a picture"):
        captioner.caption(tmp_path / "bad.png")


def test_pictures_are_read_as_they_are_needed(captioner: Captioner, album: Any) -> None:
    asked = []

    def pictures() -> Any:
        for number in range(6):
            asked.append(number)
            yield album.scenes / "c_stranger.png"

    next(captioner.caption_many(pictures()))
    assert asked == [0, 1]


def test_pictures_of_any_shape(noise_model: Backbone, retriever: Retriever, database: ConceptDatabase) -> None:
    captioner = Captioner(noise_model, database, retriever, max_new_tokens=4)
    for size in ((1, 1), (3, 200), (500, 20)):
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
        assert captioner.caption(MemoryImage(Image.fromarray(pixels), key="x")).image == "x"


def test_a_lost_reference_is_said(noise_model: Backbone, database: ConceptDatabase, album: Any) -> None:
    database.find("bo").picture.path.unlink()
    with pytest.raises(DatabaseError, match="the picture of concept 'bo' is missing"):
        Captioner(noise_model, database).caption(album.scenes / "a_bo.png", ["bo"])
