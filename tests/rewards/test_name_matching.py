"""Strict and paper name matching: every trap that the paper's code and its evaluation fall into, and more."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest


def mentions(rewards: SimpleNamespace, text: str, names: object, aliases: object = None, **options: object) -> dict:
    """Name -> (mentions, of which bracketed), closing tags as `/name`."""
    matcher = rewards.names.NameMatcher(names, aliases, **options)
    found = matcher.find([text])
    result = {}
    for name, count, bracketed, closed in zip(found.name, found.count, found.bracketed, found.closed, strict=True):
        if count:
            result[names[name]] = (int(count), int(bracketed))
        if closed:
            result["/" + names[name]] = int(closed)
    return result


MENTIONED = [
    # brackets first
    ("<bo> sits", "bo", (1, 1)),
    ("<Bo> sits, <BO> runs", "bo", (2, 2)),
    ("<bo>'s ball, < bo > and \\<bo\\>", "bo", (3, 3)),
    ("<bo's> ball", "bo", (1, 1)),
    ("**<Bo>** and *<bo>*", "bo", (2, 2)),
    ("<Iron\n  Man>", "Iron Man", (1, 1)),
    # possessives, clitics and contractions
    ("<Thor>'s hammer", "Thor", (1, 1)),
    ("Thor’s hammer, THOR'S and thor`s", "Thor", (3, 0)),
    ("Thor's god-like stare", "Thor", (1, 0)),
    ("bo'll come, bo’d say, bo've", "bo", (3, 0)),
    ("the Bos' house, Bo' end", "bo", (1, 0)),
    # markdown and quotes
    ("*SpongeBob* and **SpongeBob**, _SpongeBob_", "spongebob", (3, 0)),
    ("`bo`, ‘bo’, “bo”, 'bo', \"bo\", (bo), [bo]", "bo", (7, 0)),
    ("<b>Bo</b>", "bo", (1, 0)),
    # phrases
    ("Iron Man and iron\u00a0 man", "Iron Man", (1, 0)),  # made of common words: in its own case only
    ("Captain Thao and captain\nthao", "Captain Thao", (2, 0)),
    ("Mr.Krabs (the boss)", "mr.krabs", (1, 0)),
    ("O’Brien waves, O'BRIEN too", "O'Brien", (2, 0)),
    ("brown‑duck swims", "brown-duck", (1, 0)),
    ("<fancy_boot> and fancy_boot", "fancy_boot", (2, 1)),
    ("C++ and <C++>", "C++", (2, 1)),
    # Unicode
    ("Zoë and ZOË and Zoe\u0308", "Zoë", (3, 0)),
    ("STRASSE, straße", "Straße", (2, 0)),
    ("小明在公园", "小明", (1, 0)),
    ("อันยาวิ่ง", "อันยา", (1, 0)),
    ("🐶 and bo🐶bo", "bo", (2, 0)),
    ("\ud800 bo", "bo", (1, 0)),  # a lone surrogate, which UTF-8 cannot write
    # words and letters that are names
    ("T and <t>, T.", "T", (3, 1)),
    ("Bond's dog", "Bond", (1, 0)),
    ("a <can> on the table", "can", (1, 1)),
    ("<A> waves", "A", (1, 1)),
]


@pytest.mark.parametrize(("text", "name", "expected"), MENTIONED)
def test_mentioned(rewards: SimpleNamespace, text: str, name: str, expected: tuple[int, int]) -> None:
    assert mentions(rewards, text, [name]) == {name: expected}


NOT_MENTIONED = [
    ("", "bo"),
    ("bond, Bobo, rainbo", "bo"),
    ("<bond>", "bo"),
    ("<bo peep>", "bo"),  # brackets around more than the name
    ("<captain bo>", "bo"),
    ("bo2 and bo\u0301", "bo"),
    ("bo_2, my_bo, my__bo", "bo"),
    ("bo't", "bo"),
    ("bo'tis so", "bo"),
    ("don't", "T"),
    ("rock'bo", "bo"),
    # the evaluation's false hits: words that happen to be names
    ("a sweet bond", "Bond"),
    ("a white t-shirt", "T"),
    ("a white T-shirt", "T"),
    ("J.K. writes", "J"),
    ("K.J writes", "J"),
    ("a person can sit", "can"),
    ("A dog sits", "A"),
    ("I see", "I"),
    ("the number 7", "7"),
    ("a red cup", "red cup"),
    ("a red cup", "Red Cup"),
    ("熊猫", "猫"),
    ("the moon", "moon"),
    ("Moon over water", "moon"),
    ("iron man", "Iron Man"),
]


@pytest.mark.parametrize(("text", "name"), NOT_MENTIONED)
def test_not_mentioned(rewards: SimpleNamespace, text: str, name: str) -> None:
    assert mentions(rewards, text, [name]) == {}


def test_longest_mention_wins(rewards: SimpleNamespace) -> None:
    names = ["bo", "bo peep", "peep show"]
    assert mentions(rewards, "Bo Peep sits", names) == {"bo peep": (1, 0)}
    assert mentions(rewards, "Bo sits, Bo Peep runs", names) == {"bo": (1, 0), "bo peep": (1, 0)}
    assert mentions(rewards, "bo peep show", names) == {"bo peep": (1, 0)}
    assert mentions(rewards, "<bo> peep show", names) == {"bo": (1, 1), "peep show": (1, 0)}
    # Without Bo Peep among the names nobody knows that it is another's.
    assert mentions(rewards, "Bo Peep sits", ["bo"]) == {"bo": (1, 0)}


def test_shorter_mention_stands_in_for_a_longer_one_that_is_not_permitted(rewards: SimpleNamespace) -> None:
    assert mentions(rewards, "luna can see", ["luna", "luna can"], bare="always") == {"luna can": (1, 0)}
    assert mentions(rewards, "Red Cup red cup", ["Red Cup"]) == {"Red Cup": (1, 0)}


def test_closing_tags_are_no_mentions(rewards: SimpleNamespace) -> None:
    assert mentions(rewards, "<bo></bo>", ["bo"]) == {"bo": (1, 1), "/bo": 1}
    assert mentions(rewards, "</bo> </ Bo >", ["bo"]) == {"/bo": 2}
    assert mentions(rewards, "</bo peep>", ["bo"]) == {}
    assert mentions(rewards, "<bo/>", ["bo"]) == {}


def test_unclosed_brackets_do_not_hide_a_name(rewards: SimpleNamespace) -> None:
    assert mentions(rewards, "<bo sits", ["bo"]) == {"bo": (1, 0)}
    assert mentions(rewards, "3 < 4 and bo sits" + " on and on" * 20 + " > 2", ["bo"]) == {"bo": (1, 0)}
    assert mentions(rewards, "<bo <bo>", ["bo"]) == {"bo": (2, 1)}
    assert mentions(rewards, "< " + "x " * 40 + "bo>", ["bo"]) == {"bo": (1, 0)}


def test_aliases(rewards: SimpleNamespace) -> None:
    names, aliases = ["mr.krab", "ironman", "moon"], [["Mr.Krabs"], ["Iron Man"], ["Moon"]]
    assert mentions(rewards, "<Mr.Krabs> and mr.krab", names, aliases) == {"mr.krab": (2, 1)}
    assert mentions(rewards, "<Iron Man>, Iron Man, iron man", names, aliases) == {"ironman": (2, 1)}
    assert mentions(rewards, "Moon under the moon", names, aliases) == {"moon": (1, 0)}  # the alias has a capital


def test_a_name_beats_an_alias_and_a_shared_alias_names_nobody(rewards: SimpleNamespace) -> None:
    assert mentions(rewards, "<krabs>", ["krabs", "mr.krab"], [[], ["Krabs"]]) == {"krabs": (1, 1)}
    assert mentions(rewards, "<krabs>", ["mrs.krab", "mr.krab"], [["krabs"], ["krabs"]]) == {}
    both = [["Krabs"], ["KRABS"]]
    assert mentions(rewards, "<Krabs> <KRABS> <krabs>", ["a1", "a2"], both) == {"a1": (1, 1), "a2": (1, 1)}


def test_names_that_differ_by_case_need_their_own(rewards: SimpleNamespace) -> None:
    assert mentions(rewards, "<Bo> and bo and <BO>", ["Bo", "bo"]) == {"Bo": (1, 1), "bo": (1, 0)}


def test_policies(rewards: SimpleNamespace) -> None:
    text = "a person can sit, Bo and bo, <CAN> and <BO>"
    names = ["can", "bo"]
    assert mentions(rewards, text, names) == {"can": (1, 1), "bo": (3, 1)}
    assert mentions(rewards, text, names, bare="always") == {"can": (2, 1), "bo": (3, 1)}
    assert mentions(rewards, text, names, bare="never") == {"can": (1, 1), "bo": (1, 1)}
    assert mentions(rewards, text, names, case="exact") == {"bo": (1, 0)}
    assert mentions(rewards, text, names, bare="always", case="exact") == {"can": (1, 0), "bo": (1, 0)}
    assert mentions(rewards, "a bo can", names, common_words={"bo"}) == {"can": (1, 0)}


def test_paper_mode_is_the_exact_substring(rewards: SimpleNamespace) -> None:
    names = ["bo", "Bo", "a b", "zoë"]
    text = "<bo> bo <Bo> < bo> <a  b> <a b> </bo> <bo <zoë> <zoe\u0308> <> <BO"
    expected = {"bo": (1, 1), "Bo": (1, 1), "a b": (1, 1), "zoë": (1, 1), "/bo": 1}
    assert mentions(rewards, text, names, mode="paper") == expected
    matcher = rewards.names.NameMatcher(["/x", "x"], mode="paper")  # both are what the paper's code looks for
    found = matcher.find(["</x><</x>"])
    assert (found.name.tolist(), found.count.tolist(), found.closed.tolist()) == ([0, 1], [2, 0], [0, 2])


def test_paper_mode_at_every_distance(rewards: SimpleNamespace) -> None:
    matcher = rewards.names.NameMatcher(["bo"], mode="paper")
    texts = ["-" * before + "<bo>" + "-" * after for before in range(0, 140, 3) for after in (0, 1, 64)]
    assert matcher.find(texts).counts().tolist() == [[1]] * len(texts)
    assert matcher.find([text.replace("b", "<b") for text in texts]).counts().tolist() == [[1]] * len(texts)
    assert matcher.find([text[:-1].rstrip("-") + "." for text in texts[::3]]).named() == [[]] * len(texts[::3])


def test_counts_words_and_sparse_rows(rewards: SimpleNamespace) -> None:
    matcher = rewards.names.NameMatcher(["bo peep", "gus", "小明"])
    found = matcher.find(["Bo Peep and gus, gus!", "", "nobody's here", "小明 gus"])
    assert found.words.tolist() == [5, 0, 3, 3]
    assert found.name_words.tolist() == [4, 0, 0, 3]
    assert found.counts().tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert found.named() == [[0, 1], [], [], [2, 1]]
    assert (found.texts, found.names) == (4, 3)
    assert found.text.dtype == np.int32


def test_only_restricts_each_text(rewards: SimpleNamespace) -> None:
    for mode in ("strict", "paper"):
        matcher = rewards.names.NameMatcher(["bo", "bo peep", "gus"], mode=mode)
        texts = ["<bo peep> <bo> <gus>"] * 4
        found = matcher.find(texts, [[0, 1, 2], [0], [2, 1], []])
        assert found.named() == [[1, 0, 2], [0], [1, 2], []]
        assert matcher.find([], []).named() == []


def test_the_same_name_twice_serves_different_texts(rewards: SimpleNamespace) -> None:
    for mode in ("strict", "paper"):
        matcher = rewards.names.NameMatcher(["bo", "bo"], mode=mode, allow_duplicates=True)
        assert matcher.find(["<bo>", "<bo>", "<bo>"], [[0], [1], []]).named() == [[0], [1], []]


def test_more_rows_than_room(rewards: SimpleNamespace) -> None:
    names = [f"n{i}" for i in range(40)]
    texts = [" ".join(f"<{name}>" for name in names)] * 5
    for mode in ("strict", "paper"):
        found = rewards.names.NameMatcher(names, mode=mode).find(texts)
        assert found.counts().tolist() == [[1] * 40] * 5


def test_no_names_and_no_texts(rewards: SimpleNamespace) -> None:
    for mode in ("strict", "paper"):
        assert rewards.names.NameMatcher([], mode=mode).find(["<bo>", ""]).named() == [[], []]
        assert rewards.names.NameMatcher(["bo"], mode=mode).find([]).named() == []


@pytest.mark.parametrize("mode", ["strict", "paper"])
@pytest.mark.parametrize("name", ["", "  ", "<bo>", "b>o"])
def test_bad_names(compiled: SimpleNamespace, name: str, mode: str) -> None:
    with pytest.raises(ValueError, match="bare names"):
        compiled.names.NameMatcher([name], mode=mode)


def test_bad_arguments(compiled: SimpleNamespace) -> None:
    matcher = compiled.names.NameMatcher
    with pytest.raises(ValueError, match="unknown mode 'loose'; there are strict, paper"):
        matcher(["bo"], mode="loose")
    with pytest.raises(ValueError, match="unknown bare"):
        matcher(["bo"], bare="sometimes")
    with pytest.raises(ValueError, match="unknown case"):
        matcher(["bo"], case="lower")
    with pytest.raises(ValueError, match="'bo' is given twice"):
        matcher(["bo", "gus", " bo"])
    with pytest.raises(ValueError, match="1 lists of aliases for 2 names"):
        matcher(["bo", "gus"], [["b"]])
    with pytest.raises(ValueError, match="1 lists of names for 2 texts"):
        matcher(["bo"]).find(["a", "b"], [[0]])
    with pytest.raises(ValueError, match="there is no such name"):
        matcher(["bo"]).find(["a"], [[1]])


def test_offsets_are_checked_before_they_reach_a_kernel(compiled: SimpleNamespace) -> None:
    matcher = compiled.names.NameMatcher(["bo"])
    buffer, offsets = compiled.names.encode(["<bo>", "bo"])
    assert matcher.find_in(buffer, offsets).named() == [[0], [0]]
    for wrong in ([0, 4, 7], [-1, 2], [0, 4, 2], []):
        with pytest.raises(ValueError, match="offsets"):
            matcher.find_in(buffer, np.array(wrong, np.int64))
    one = np.array([0], np.int32)
    for of_text, at, message in (([0, 3], [0, 1], "one of the sets"), ([0, 0], [0, 2], "do not ascend")):
        sets = compiled.search.Sets(np.array(of_text, np.int32), np.array(at), one)
        with pytest.raises(ValueError, match=message):
            matcher.find_in(buffer, offsets, sets)


def test_broken_utf8_is_no_name_and_no_crash(rewards: SimpleNamespace) -> None:
    matcher = rewards.names.NameMatcher(["bo", "é"])
    for junk in (b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x90", b"\xc0\x80", b"\xc3(", b"\xf4\x90\x80\x80", b"\x80"):
        text = b"bo " + junk + b" bo " + junk
        found = matcher.find_in(np.frombuffer(text, np.uint8), np.array([0, len(text)]))
        assert found.counts().tolist() == [[2, 0]]


def test_a_writable_buffer_is_the_same_to_the_compiler(compiled: SimpleNamespace) -> None:
    matcher = compiled.names.NameMatcher(["bo"])
    before = len(compiled.search._strict.signatures)
    assert matcher.find_in(np.frombuffer(b"bo", np.uint8).copy(), np.array([0, 2])).named() == [[0]]
    assert len(compiled.search._strict.signatures) == max(before, 1)


def test_million_mentions_in_one_text(compiled: SimpleNamespace) -> None:
    found = compiled.names.NameMatcher(["bo"]).find(["bo " * 100_000, "_" * 100_000, "'" * 100_000, "<" * 100_000])
    assert found.count.tolist() == [100_000]


@pytest.mark.parametrize("said", ["zz", "b", "bop"])
@pytest.mark.parametrize("mode", ["strict", "paper"])
def test_another_phrase_with_the_same_hash_is_not_the_name(rewards: SimpleNamespace, mode: str, said: str) -> None:
    matcher = rewards.names.NameMatcher(["bo"], mode=mode, bare="always")
    index = matcher._index
    other = rewards.names.NameMatcher([said], mode=mode, bare="always")._index
    every = np.full_like(index.initials, np.iinfo(np.uint64).max)
    matcher._index = index._replace(keys=other.keys, ends=other.ends, initials=every)  # as if the hashes were equal
    assert matcher.find([f"<{said}>", "<bo>"]).named() == [[], []]
