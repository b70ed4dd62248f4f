"""The matcher against a slow one that follows its rules with Python strings: no bytes, no hashes, no tables."""

from __future__ import annotations

import unicodedata
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

APOSTROPHES = "'’‘ʼ＇`´"
HYPHENS = "-‐‑﹣－"
CLITICS = {"s", "d", "m", "ll", "re", "ve"}
REACH = 16
IDEOGRAPHS = ("\u3400\u4dbf", "\u4e00\u9fff", "\uf900\ufaff", "\U00020000\U000323af")


def is_mark(char: str) -> bool:
    return char == "\u200d" or unicodedata.category(char)[0] == "M"


def is_ideograph(char: str) -> bool:
    """By block, so that ideographs which this Python's Unicode does not know yet are words too."""
    return any(low <= char <= high for low, high in IDEOGRAPHS)


def is_word(char: str) -> bool:
    if char in APOSTROPHES:
        return False  # U+02BC is a letter to Unicode
    return char.isalnum() or char == "_" or is_mark(char) or is_ideograph(char)


def is_solo(char: str) -> bool:
    """Scripts without spaces, by the names of their characters."""
    name = unicodedata.name(char, "")
    scripts = ("HIRAGANA", "THAI", "LAO", "KHMER", "MYANMAR")
    return is_ideograph(char) or (is_word(char) and char != "_" and name.startswith(scripts))


def in_run(char: str) -> bool:
    return is_word(char) and char != "_" and not is_solo(char)


def unify(text: str) -> str:
    text = "".join("'" if c in APOSTROPHES else "-" if c in HYPHENS else c for c in text)
    return " ".join(text.split())


def cut(text: str) -> list[tuple[str, int, int, bool]]:
    """Tokens: text, begin, end, and whether white space (or the start) is before it."""
    tokens, i = [], 0
    while i < len(text):
        if text[i].isspace():
            i += 1
            continue
        begin, run = i, in_run(text[i])
        i += 1
        while i < len(text) and (is_mark(text[i]) or (run and in_run(text[i]))):
            i += 1
        tokens.append((text[begin:i], begin, i, begin == 0 or text[begin - 1].isspace()))
    return tokens


def fold_tokens(tokens: list[tuple[str, int, int, bool]]) -> tuple[str, ...]:
    """Tokens without their case, each with a blank before it if there is white space within the phrase."""
    return tuple(" " * (gap and k > 0) + unify(text).casefold() for k, (text, _, _, gap) in enumerate(tokens))


class Slow:
    """The rules of `repic_rewards.names`, one spelling at a time."""

    def __init__(self, names: list[str], aliases: list[list[str]], bare: str, case: str, common: set[str]) -> None:
        self.spellings = [(nfc(name).strip(), i, False) for i, name in enumerate(names)]
        self.spellings += [(nfc(other).strip(), i, True) for i, row in enumerate(aliases) for other in row]
        self.bare, self.case, self.common = bare, case, common
        self.by_tokens: dict[tuple[str, ...], list[tuple[str, int, bool]]] = {}
        for spelling in self.spellings:
            self.by_tokens.setdefault(fold_tokens(cut(spelling[0])), []).append(spelling)
        self.longest_spelling = max(map(len, self.by_tokens), default=0)

    def find(self, text: str) -> tuple[Counter, Counter, Counter, int, int]:
        self.text = nfc(text)
        self.tokens = cut(self.text)
        count, bracketed, closed = Counter(), Counter(), Counter()
        i = name_words = 0
        while i < len(self.tokens):
            hit = self.longest(i)
            if hit is None:
                i += 1
                continue
            last, name, frame = hit
            name_words += sum(self.is_letters(k) for k in range(i, last + 1))
            closed[name] += frame == "closing"
            count[name] += frame != "closing"
            bracketed[name] += frame == "bracketed"
            i = last + 1
        words = sum(self.is_letters(k) for k in range(len(self.tokens)))
        return +count, +bracketed, +closed, words, name_words

    def is_letters(self, i: int) -> bool:
        return is_word(self.tokens[i][0][0]) and self.tokens[i][0][0] != "_"

    def touches(self, i: int, k: int) -> bool:
        """Tokens i to k exist and have no white space between them."""
        return i >= 0 and k < len(self.tokens) and not any(self.tokens[m][3] for m in range(i + 1, k + 1))

    def longest(self, i: int) -> tuple[int, int, str] | None:
        for last in reversed(range(i, min(len(self.tokens), i + self.longest_spelling))):
            said = self.text[self.tokens[i][1] : self.tokens[last][2]]
            forms = self.by_tokens.get(fold_tokens(self.tokens[i : last + 1]), [])
            name = self.whose(forms, unify(said))
            if name is None or not self.starts(i) or not self.ends(last):
                continue
            frame = self.frame(i, last)
            if frame == "closing":
                return last, name, frame
            if frame != "inside" and any(
                self.permitted(form, unify(said), frame, i, last) for form, own, _ in forms if own == name
            ):
                return last, name, frame
        return None

    def whose(self, forms: list[tuple[str, int, bool]], said: str) -> int | None:
        forms = [s for s in forms if not s[2]] or forms
        owners = {name for _, name, _ in forms}
        if len(owners) > 1:
            owners = {name for form, name, _ in forms if unify(form) == said}
        return owners.pop() if len(owners) == 1 else None

    def starts(self, i: int) -> bool:
        if not self.touches(i - 1, i):
            return True
        before = self.tokens[i - 1][0]
        if before[0] in APOSTROPHES:
            return not (self.touches(i - 2, i - 1) and is_word(self.tokens[i - 2][0][0]))
        k = i - 1
        while self.touches(k, i) and self.tokens[k][0][0] == "_":
            k -= 1
        return k == i - 1 or not self.touches(k, i) or not self.one_word(k, i)

    def one_word(self, a: int, b: int) -> bool:
        left, right = self.tokens[a][0][0], self.tokens[b][0][0]
        return is_word(left) and is_word(right) and not is_solo(left) and not is_solo(right)

    def ends(self, last: int) -> bool:
        k = last + 1
        while self.touches(last, k) and self.tokens[k][0][0] == "_":
            k += 1
        if not self.touches(last, k):
            return True
        if k > last + 1:
            return not self.one_word(last, k)
        if self.tokens[k][0][0] in APOSTROPHES and self.touches(k, k + 1) and is_word(self.tokens[k + 1][0][0]):
            return self.tokens[k + 1][0].lower() in CLITICS
        return True

    def sign(self, k: int) -> str:
        return self.tokens[k][0][0] if k < len(self.tokens) else ""  # whatever marks it carries

    def frame(self, i: int, last: int) -> str:
        k = i - 1
        while k >= 0 and self.sign(k) not in ("<", ">"):
            k -= 1
        if k < 0 or self.sign(k) == ">" or i - k > REACH:
            return "bare"
        after = last + 1
        if after + 1 < len(self.tokens) and self.tokens[after][0][0] in APOSTROPHES:
            after += 2 * (self.tokens[after + 1][0].lower() in CLITICS)
        after += self.sign(after) == "\\"
        closing = i - k == 2 and self.sign(i - 1) == "/"
        if (closing or i - k == 1) and self.sign(after) == ">":
            return "closing" if closing else "bracketed"
        rest = [self.sign(m) for m in range(last + 1, last + 1 + REACH)]
        signs = [sign for sign in rest if sign in ("<", ">")]
        return "inside" if signs and signs[0] == ">" else "bare"

    def permitted(self, form: str, said: str, frame: str, i: int, last: int) -> bool:
        exact = unify(form) == said
        if self.case == "exact" and not exact:
            return False
        if frame == "bracketed" or self.bare == "always":
            return True
        if self.bare == "never":
            return False
        if len(form) > 1 and not all(word in self.common for word in form.casefold().split()):
            return True
        capital = any(char.isupper() for char in form) and form not in ("A", "I")
        return capital and exact and not self.joined(i - 2, i - 2) and not self.joined(last, last + 2)

    def joined(self, low: int, word: int) -> bool:
        if not self.touches(low, low + 2) or not is_word(self.tokens[word][0][0]):
            return False
        middle = self.tokens[low + 1][0]
        return middle[0] in HYPHENS or middle[0] == "."


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


COMMON = {"can", "red", "cup"}
PIECES = [
    *(
        "bo",
        "Bo",
        "BO",
        "peep",
        "can",
        "Can",
        "red",
        "Cup",
        "T",
        "t",
        "A",
        "7",
        "zoë",
        "Zoe\u0308",
        "straße",
        "STRASSE",
    ),
    *("小", "明", "อัน", "ยา", "ひ", "カナ", "🐶", "👩\u200d🦰", "é", "\u0301", "ŉ", "İ", "ﬀ", "\ud800"),
    *(
        " ",
        " ",
        " ",
        "\n",
        "\u00a0",
        "<",
        ">",
        "</",
        "/",
        "\\",
        "_",
        "-",
        "‑",
        ".",
        ",",
        "*",
        "'",
        "’",
        "ʼ",
        "'s",
        "’ll",
        "'t",
    ),
]
texts = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
wild = st.text(max_size=12)
spellings = st.one_of(
    st.lists(st.sampled_from([p for p in PIECES if p not in ("<", ">", "</")]), min_size=1, max_size=4).map("".join),
    st.text(min_size=1, max_size=3),
).filter(lambda text: bool(nfc(text).strip()) and "<" not in text and ">" not in text)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[str]]]:
    names = draw(st.lists(spellings, min_size=1, max_size=5, unique_by=lambda text: nfc(text).strip()))
    aliases = [draw(st.lists(spellings, max_size=2)) for _ in names]
    every = [*names, *(other for row in aliases for other in row), *(f"<{name}>" for name in names)]
    parts = st.one_of(st.sampled_from(every), st.sampled_from(PIECES), texts, wild)
    return draw(st.lists(st.lists(parts, max_size=10).map("".join), max_size=4)), names, aliases


def agree(rewards: SimpleNamespace, case: tuple, bare: str, exactness: str) -> None:
    texts, names, aliases = case
    matcher = rewards.names.NameMatcher(names, aliases, bare=bare, case=exactness, common_words=COMMON)
    slow = Slow(names, aliases, bare, exactness, COMMON)
    found = matcher.find(texts)
    for t, text in enumerate(texts):
        rows = found.text == t
        columns = [Counter(), Counter(), Counter()]
        for counter, values in zip(columns, (found.count, found.bracketed, found.closed), strict=True):
            counter.update(dict(zip(found.name[rows].tolist(), values[rows].tolist(), strict=True)))
        expected = slow.find(text)
        got = (*(+counter for counter in columns), int(found.words[t]), int(found.name_words[t]))
        assert got == expected, (text, names, aliases)


policies = (st.sampled_from(["auto", "always", "never"]), st.sampled_from(["fold", "exact"]))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), *policies)
def test_compiled_matcher_agrees_with_the_slow_one(
    compiled: SimpleNamespace, case: tuple, bare: str, exact: str
) -> None:
    agree(compiled, case, bare, exact)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases(), *policies)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_plain_matcher_agrees_with_the_slow_one(plain: SimpleNamespace, case: tuple, bare: str, exact: str) -> None:
    agree(plain, case, bare, exact)


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, max_size=5), st.lists(spellings, min_size=1, max_size=5, unique=True))
def test_paper_mode_is_python_containment(compiled: SimpleNamespace, texts: list[str], names: list[str]) -> None:
    texts = [*texts, "".join(f"<{name}> </{name}>" for name in names)]
    found = compiled.names.NameMatcher(names, mode="paper", allow_duplicates=True).find(texts)
    rows = set(zip(found.text.tolist(), found.name.tolist(), (found.count > 0).tolist(), strict=True))
    shut = {
        (t, n) for t, n, c in zip(found.text.tolist(), found.name.tolist(), found.closed.tolist(), strict=True) if c
    }
    for t, text in enumerate(texts):
        for n, name in enumerate(names):
            assert ((t, n, True) in rows) == (f"<{name}>" in text)
            assert ((t, n) in shut) == (f"</{name}>" in text)
