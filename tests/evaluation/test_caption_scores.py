"""Both protocols: the paper's to the digit on the released captions, the strict one on cases, and their differences."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from repic_cli.evaluation.captioned.breakdown import by_concept, by_picture
from repic_cli.evaluation.captioned.compare import compare, mcnemar
from repic_cli.evaluation.captioned.known import KnownConcept
from repic_cli.evaluation.captioned.mistakes import Mistake, mistakes, reasons
from repic_cli.evaluation.captioned.rows import CaptionRow, CaptionSet, read_captions
from repic_cli.evaluation.captioned.scores import Scores
from repic_cli.evaluation.captioned.scoring import Rules, labels, score_files, score_sets
from repic_plugins.errors import DataError

SETS = {"double_concept": "2-concept", "quad_concept": "4-concept"}
DATABASES = {"2-concept": "database_2_concepts", "4-concept": "database_4_concepts"}


@pytest.fixture(scope="module")
def released(repic_pack: Path) -> list[tuple[dict[str, Any], Scores]]:
    """What is expected of each released file, and its scores with the names of its database."""
    expected = {(e["set"], e["file"]): e for e in json.loads((repic_pack / "expected_scores.json").read_text())}
    found = []
    for path in sorted(repic_pack.glob("repic_captions/*/*.json")):
        kind = SETS[path.parent.name]
        (scores,) = score_files([path], [repic_pack / "repic_databases" / DATABASES[kind]])
        found.append((expected[kind, path.name], scores))
    assert len(found) == len(expected) == 8
    return found


def test_the_papers_rule_is_exact_on_all_released_captions(released: list[tuple[dict[str, Any], Scores]]) -> None:
    for expected, scores in released:
        rule = expected["repo_rule"]
        assert [list(own) for own in scores.slots] == expected["per_record"], expected["file"]
        assert scores.totals("paper") == (rule["correct"], rule["precision_denominator"], rule["slots"])
        for score, key in (("precision", "P"), ("recall", "R"), ("f1", "F1")):
            assert round(100 * scores.estimate("paper", score).value, 4) == rule[key]
        assert scores.rule.case == ("keep" if rule["case_sensitive"] else "fold")


def test_the_papers_table_2_comes_out(released: list[tuple[dict[str, Any], Scores]]) -> None:
    for expected, scores in released:
        for score, key in (("precision", "P"), ("recall", "R"), ("f1", "F")):
            assert round(100 * scores.estimate("paper", score).value, 1) == expected["paper_table2_skip_retrieval"][key]


def test_break_downs_add_up(released: list[tuple[dict[str, Any], Scores]]) -> None:
    for expected, scores in released:
        groups: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for part in by_picture(scores):
            path = Path(part.name)
            group = path.parent.name if expected["set"] == "2-concept" else path.stem.removeprefix("group photo_")
            for k, count in enumerate((part.paper_hits, part.paper_named, part.slots)):
                groups[group][k] += count
        wanted = {
            name: [one["correct"], one["precision_denominator"], one["slots"]]
            for name, one in expected["groups"].items()
        }
        assert groups == wanted
        parts = by_concept(scores)
        assert len([part for part in parts if part.slots]) == expected["facts"]["distinct_concepts"]
        assert sum(part.paper_hits for part in parts) == scores.totals("paper")[0]
        assert (sum(p.strict_hits for p in parts), sum(p.strict_named for p in parts)) == scores.totals("strict")[:2]


def test_strict_finds_the_names_that_are_written(released: list[tuple[dict[str, Any], Scores]]) -> None:
    """Against the pack's own phrase rule, which differs by common words and single letters alone."""
    for expected, scores in released:
        hits, named, _ = scores.totals("strict")
        phrase = expected["alt_phrase_rule"]
        if expected["set"] == "4-concept":
            assert (hits, named) == (phrase["correct"], phrase["mention_den"])
        else:  # "t-shirt" is no T there, nor is "bond" a Bond
            assert hits <= phrase["correct"] and named <= phrase["mention_den"]


def test_lengths_and_empty_captions(released: list[tuple[dict[str, Any], Scores]]) -> None:
    for expected, scores in released:
        facts = expected["facts"]
        assert scores.lengths is not None
        assert round(scores.lengths.mean_words, 2) == facts["mean_words"]
        assert sum(scores.beyond["empty"].hits) == facts["empty_after_eos_strip"]


def test_each_difference_is_explained(released: list[tuple[dict[str, Any], Scores]]) -> None:
    for expected, scores in released:
        found = list(mistakes(scores))
        slots = [slot for own in scores.slots for slot in own]
        differ = sum((slot == "hit") != bool(hit) for slot, hit in zip(slots, scores.mentions.hit, strict=True))
        explained = [one for one in found if (one.paper == "hit") != (one.strict == "hit") and one.reason]
        assert len([one for one in explained if one.strict in ("hit", "missing")]) == differ
        assert all(one.explanation and one.where for one in explained), expected["file"]
        if expected["set"] == "4-concept" and "Ours" in expected["method"]:
            # As counted by hand: keys of several words, Mr.Krabs, possessives, Iron Man.
            counted = reasons([one for one in found if one.strict == "hit"])
            assert counted == {"blank": 51, "name": 25, "possessive": 18, "written": 15}


CONCEPTS = [
    KnownConcept("bo", "Bo", ("Bobo",), "A small brown dog that loves to chase red balls in the park."),
    KnownConcept("ironman", "Iron Man"),
    KnownConcept("mr.krab", "Mr.Krabs"),
    KnownConcept("Bond", "Bond"),
    KnownConcept("T", "T"),
    KnownConcept("can", "can"),
    KnownConcept("black widow", "Black Widow"),
]


def score(
    rows: Sequence[tuple[Iterable[str], str]], concepts: Sequence[KnownConcept] = CONCEPTS, **more: Any
) -> Scores:
    made = tuple(CaptionRow(i, f"{i}.jpg", tuple(keys), caption, **more) for i, (keys, caption) in enumerate(rows, 1))
    (scores, *_) = score_sets([CaptionSet(Path("captions.json"), made)], concepts)
    return scores


@pytest.mark.parametrize(
    ("keys", "caption", "paper", "strict", "reason"),
    [
        (["bo"], "<Bo>'s ball rolls.", "none", "hit", "possessive"),
        (["bo"], "Look: Bo’s ball.", "none", "hit", "possessive"),
        (["bo"], "A dog, **Bo**, runs.", "none", "hit", "signs"),
        (["bo"], "A dog called Bobo runs.", "none", "hit", "name"),
        (["ironman"], "<Iron Man> flies.", "none", "hit", "written"),
        (["mr.krab"], "<Mr.Krabs> counts.", "none", "hit", "name"),
        (["black widow"], "<Black Widow> lands.", "none", "hit", "blank"),
        (["can"], "A person can sit.", "hit", "missing", "common"),
        (["Bond", "T"], "bond in a <T>", "none", "missing", ""),
        (["bo", "T"], "Bo and <T>", "none", "hit", "case"),
        (["bo"], "</bo> <bo>", "hit", "", ""),
        (["bo"], "A dog.", "none", "missing", ""),
    ],
)
def test_cases(keys: list[str], caption: str, paper: str, strict: str, reason: str) -> None:
    scores = score([(keys, caption)])
    assert scores.slots[0][0] == paper
    found: list[Mistake] = [one for one in mistakes(scores) if one.key == keys[0]]
    if not strict:
        assert not found
    else:
        assert (found[0].paper, found[0].strict, found[0].reason) == (paper, strict, reason)


def test_strict_precision_counts_all_names_of_the_database() -> None:
    scores = score([(["bo"], "<Bo> meets <Iron Man> and <Mr.Krabs>."), (["ironman"], "A can and a sweet bond.")])
    assert scores.totals("strict") == (1, 3, 2)
    assert scores.totals("paper") == (1, 1, 2)  # the wrong names cost nothing, as Bo is there
    assert scores.beyond["wrong"].hits == (1, 0) and scores.beyond["exact"].hits == (0, 0)


def test_invented_names_are_those_that_no_concept_has() -> None:
    captions = {
        "<Wanda> and <bo peep>": ("Wanda", "bo peep"),
        "<Bo>'s <iron man> <Bo’s>": (),
        "<think>so</think> <|im_end|> <answer>Bo</answer>": (),
        "2 < 3 > 1 and <Zoe> <Zoe>": ("Zoe",),
    }
    scores = score([(["bo"], caption) for caption in captions])
    assert [set(own) - {"3"} for own in scores.mentions.invented] == [set(own) for own in captions.values()]


def test_open_set_is_apart_from_precision() -> None:
    scores = score([((), "<Bo> runs."), ((), "A dog runs."), (["bo"], "Bo runs.")])
    assert scores.totals("strict") == (1, 1, 1)
    assert (scores.beyond["open_set"].hits, scores.beyond["open_set"].chances) == ((1, 0, 0), (1, 1, 0))


def test_wrong_demonstrations_count_the_names_that_were_shown() -> None:
    scores = score([(["bo"], "<Iron Man> flies.")], setting="wrong-demonstrations", shown=("ironman",))
    assert scores.totals("strict") == (1, 1, 1)
    assert scores.totals("paper") == (0, 0, 1)


def test_general_captions_are_an_open_set() -> None:
    scores = score([(["bo"], "<Bo> runs.")], setting="general", shown=())
    assert scores.totals("strict") == scores.totals("paper") == (0, 0, 0)
    assert scores.beyond["open_set"].hits == (1,)
    assert math.isnan(scores.estimate("strict", "recall").value) and scores.estimate("paper", "recall").value == 0


def test_repeats_of_the_info() -> None:
    info = CONCEPTS[0].info
    rows = [(["bo"], f"<Bo>: {info.upper()}"), (["bo"], "Bo, a small brown dog, naps."), (["ironman"], info)]
    tally = score(rows).beyond["info"]
    assert (tally.hits, tally.chances) == ((1, 0, 0), (1, 1, 0))


def test_what_was_retrieved_bounds_what_can_be_named() -> None:
    rows = tuple(
        CaptionRow(i, f"{i}.jpg", ("bo",), "Bo", retrieved=found)
        for i, found in enumerate([("bo", "ironman"), ("ironman", "T"), ()], 1)
    )
    captions, bound = score_sets([CaptionSet(Path("a.jsonl"), rows)], CONCEPTS)
    assert captions.what == "captions" and bound.what == "retrieval (up to 2)"
    assert bound.slots == (("hit",), ("miss_other",), ("none",))
    assert bound.totals("paper") == (1, 2, 3) and bound.totals("strict") == (1, 4, 3)


def test_pictures_are_resampled_with_all_their_queries() -> None:
    rows = tuple(CaptionRow(i, f"{i % 4}.jpg", ("bo",), "Bo" if i % 4 else "a dog") for i in range(1, 101))
    files = [CaptionSet(Path("a.jsonl"), rows)]
    widths = {}
    for unit in ("query", "picture"):
        (scores,) = score_sets(files, CONCEPTS, Rules(unit=unit))  # type: ignore[arg-type]
        found = scores.estimate("strict", "recall")
        assert found.value == 0.75
        widths[unit] = found.high - found.low
    assert widths["picture"] > 2 * widths["query"]


def test_comparison_pairs_the_same_queries(tmp_path: Path) -> None:
    first = score([(["bo"], "a dog")] * 30 + [(["T"], "<T>")] * 10)
    second = score([(["bo"], "<Bo>")] * 30 + [(["T"], "a girl")] * 2)
    found = compare(first, second)
    assert (found.queries, found.alone) == (32, (8, 0))
    change = found.changes["strict", "recall"]
    assert change.value == pytest.approx(30 / 32 - 2 / 32) and 0 < change.low <= change.high
    assert (found.mcnemar["strict"].only_first, found.mcnemar["strict"].only_second) == (2, 30)
    with pytest.raises(DataError, match="no query in common"):
        compare(first, score([(["can"], "x")]))


def test_mcnemar_is_the_exact_test() -> None:
    import numpy as np

    first = np.array([True] * 3 + [False] * 17 + [True] * 50)
    second = np.array([False] * 3 + [True] * 17 + [True] * 50)
    got = mcnemar(first, second)
    assert (got.only_first, got.only_second) == (3, 17)
    # 2 (1 + 20 + 190 + 1140) / 2^20
    assert got.p == pytest.approx(2 * 1351 / 2**20)
    assert mcnemar(first, first).p == 1


def test_keys_are_found_in_a_database_however_they_are_capitalised() -> None:
    scores = score([(["BO"], "Bobo naps."), (["nobody"], "<nobody> naps.")])
    assert scores.totals("strict") == (2, 2, 2)
    assert len(scores.mentions.known) == len(CONCEPTS) + 1


def test_two_databases_may_have_one_concept(repic_pack: Path) -> None:
    path = repic_pack / "repic_captions/quad_concept/captioning-skip-retrieval-ours.json"
    database = repic_pack / "repic_databases/database_4_concepts/database_mod.json"
    once, twice = (score_files([path], [database] * n)[0].totals("strict") for n in (1, 2))
    assert once == twice


def test_labels_tell_files_apart() -> None:
    assert labels([Path("a/x.json"), Path("b/y.json")]) == ["x", "y"]
    assert labels([Path("a/x.json"), Path("b/x.json")]) == ["a/x", "b/x"]
    assert Counter(labels([Path("x.json"), Path("x.json")])) == {"x.json": 2}


def test_the_released_files_are_read_as_they_are(repic_pack: Path) -> None:
    counts = [len(read_captions(path).rows) for path in sorted(repic_pack.glob("repic_captions/*/*.json"))]
    assert counts == [82] * 5 + [105] * 3


@pytest.mark.parametrize("count", [3, 4, 7, 8, 9, 20, 33])
def test_each_run_of_words_is_a_repeat(count: int) -> None:
    words = [f"w{i}" for i in range(count)]
    concept = KnownConcept("bo", "bo", (), " ".join(words))
    size = min(8, count)
    for start in range(count - size + 1):
        for length in (size, size - 1):
            run = words[start : start + length]
            tally = score([(["bo"], f"x {', '.join(run)}. y")], [concept]).beyond.get("info")
            if count < 4:
                assert tally is None
            else:
                assert tally is not None and tally.hits == (int(length == size),), (start, length)
