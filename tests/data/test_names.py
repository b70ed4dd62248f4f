"""Names of concepts: what people call their things is fine, what could break a prompt or a path is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic_cli.data.names import MAX_NAME, safe_name
from repic_plugins.errors import DataError


@pytest.mark.parametrize(
    "name",
    [
        "bo", "Bo", "black widow", "mr.krab", "Mr.Krabs", "Iron Man", "T", "can", "Bond", "t-shirt", "O'Neill",
        "d’Artagnan", "my_cat", "R2-D2", "Zoë", "Nguyễn", "王小明", "गौरी", "עדי", "🐶",
        "👩‍🚀", "2pac", "dog & co", "Bo (old)", "it's",
        "x" * MAX_NAME,
    ],
)  # fmt: skip
def test_real_names_stay_as_they_are(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<bo>", "bo"),
        ("  bo ", "bo"),
        ("< black  widow >", "black widow"),
        ("black\u00a0widow", "black widow"),
        ("Zoe\u0308", "Zoë"),
    ],
)
def test_spelling_is_made_uniform(text: str, name: str) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "<|image_pad|>", "|image_pad|", "<|im_end|>", "bo<|im_end|>", "bo|", "｜User｜", "＜bo＞x", "a<b", "a>b",
        "<<bo>>", "</bo>", "s", "</s>", "<image>", "Image", "image", "pad",
        "think", "answer", "observe", "box", "tool_call", "tool call",
        "loc0010", "<loc0010>", "IMG_CONTEXT", "[INST]", "[/INST] bo", "start_of_turn",
    ],
)  # fmt: skip
def test_names_that_would_be_tokens_or_tags_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        safe_name(text)


@pytest.mark.parametrize(
    "text",
    ["../bo", "a/b", "a\\b", ".hidden", "..", ".", "a\nb", "a\tb", "a\x00b", "a\x1b[31mb", "a\u202eb", "a\u2028b"],
)
def test_paths_and_control_characters_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        safe_name(text)


@pytest.mark.parametrize("text", ["", "   ", "<>", "< >", "!?", "-", "\u200d", "bo,thao", "x" * (MAX_NAME + 1)])
def test_empty_long_and_unaddressable_names_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        safe_name(text)


def test_other_types_are_refused() -> None:
    with pytest.raises(DataError, match="must be text, not int"):
        safe_name(7)  # type: ignore[arg-type]


@given(st.text(max_size=150))
def test_what_is_accepted_is_safe_and_stable(text: str) -> None:
    try:
        name = safe_name(text)
    except DataError as error:
        assert "\n" not in str(error)
        assert str(error).isprintable()
        return
    assert safe_name(name) == name == safe_name(f"<{name}>")
    assert 0 < len(name) <= MAX_NAME
    assert not set("<>|/\\,\n\r\t\x00") & set(name)
    assert not name.startswith(".")


def test_names_of_the_real_databases_are_accepted(repic_pack: Path) -> None:
    seen = 0
    for path in repic_pack.rglob("*.json"):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and "concept_dict" in content:
            for key, row in content["concept_dict"].items():
                assert safe_name(key) == key.strip("<>")
                safe_name(row["name"])
                seen += 1
    assert seen > 300
