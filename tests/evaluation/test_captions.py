"""Reading captions of the embedded world."""

from __future__ import annotations

from repic_cli.embedded.language import Item, caption
from repic_cli.evaluation.captions import Binding, attributes, binding, looks, names_said

SCENE = (
    {"phrase": "red striped star with a crown", "position": "top left", "box": (1, 2, 30, 40), "name": "luna"},
    {"phrase": "blue plain moon", "position": "right", "box": (70, 50, 100, 80), "name": "bo"},
    {"phrase": "green dotted ring with an antenna", "position": "bottom", "box": (40, 80, 60, 110), "name": None},
)


def test_the_true_caption_is_all_right_in_every_form() -> None:
    items = [Item(item["phrase"], item["position"], item["name"]) for item in SCENE]
    for form in ("listing", "showing"):
        text = caption(items, "navy", "dim", form=form, detailed=True)
        got = binding(text, SCENE, ("luna", "bo"))
        assert (got.placed, got.placed_right, got.described, got.described_right) == (2, 2, 2, 2)
        assert looks(text, SCENE).phrase_and_place == 3
        brief = caption(items, "navy", "dim", form=form, detailed=False)
        assert binding(brief, SCENE, ("luna", "bo")) == Binding(2, 2, 0, 0, got.chance)


def test_swapped_names_are_recalled_but_not_bound() -> None:
    text = "At the top left is <bo>. At the right is a red striped star with a crown, called <luna>."
    got = binding(text, SCENE, ("luna", "bo"))
    assert (got.placed, got.placed_right) == (2, 0)
    assert (got.described, got.described_right) == (1, 1)


def test_a_name_at_two_places_is_not_bound() -> None:
    text = "At the top left is <luna>. At the right is <luna>."
    assert binding(text, SCENE, ("luna", "bo")).placed_right == 0
    assert binding(text, SCENE, ("luna", "bo")).placed == 1


def test_chance_counts_objects_that_share_the_place() -> None:
    objects = (*SCENE[:2], {**SCENE[2], "position": "right"})
    got = binding("At the right is <bo>.", objects, ("luna", "bo"))
    assert abs(got.chance - 2 / 3) < 1e-9


def test_a_missing_accessory_is_not_the_full_phrase() -> None:
    got = looks("At the top left is a red striped star. At the right is a blue plain moon.", SCENE)
    assert got.phrase == 1
    assert got.attributes == (2, 2, 2, 1)


def test_one_mention_counts_for_one_object() -> None:
    twins = ({**SCENE[1], "position": "left"}, SCENE[1])
    assert looks("At the right is a blue plain moon.", twins).phrase == 1
    assert looks("At the right is a blue plain moon.", twins).phrase_and_place == 1


def test_attributes_and_names() -> None:
    assert attributes("green dotted ring with an antenna") == ("green", "dotted", "ring", "antenna")
    assert attributes("") == ("", "", "", "")
    assert names_said("<luna> and < bo >, </b> <> <open") == {"luna", "bo"}
