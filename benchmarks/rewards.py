"""Scoring speed, side by side in one run on one thread: `python benchmarks/rewards.py [--quick] [--json FILE]`.

1. The paper's rules in straightforward Python against ours, for the completions of many GRPO groups: the box reward's
   IoU, the identity reward (each completion has its own one to three names), and the names of a whole database in
   every completion (what strict precision needs).
2. pyahocorasick against ours: many captions, many names, equal results required.
3. torchvision's box IoU against ours, pairs and matrix, in double precision.

The least of several runs counts, in CPU seconds of the process; compilation is reported apart. Ours starts from
Python strings, or where the table says "on a buffer" from one UTF-8 buffer with offsets; boxes are numpy arrays.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "rewards"))

SEED = 7
Row = dict[str, Any]


def least(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The least CPU seconds of some runs, and the result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        begin = time.process_time()
        result = run()
        best = min(best, time.process_time() - begin)
    return best, result


def row(case: str, theirs: str, their_seconds: float, our_seconds: float, **more: object) -> Row:
    return {
        "case": case,
        "theirs": theirs,
        "their_seconds": their_seconds,
        "our_seconds": our_seconds,
        "ratio": their_seconds / our_seconds,
        **more,
    }


# What is scored ------------------------------------------------------------------------------------------------------


def make_names(count: int, rng: random.Random) -> list[str]:
    """Names of one or two words that differ without their case: invented ones and Faker's."""
    from faker import Faker

    faker = Faker("en_US")
    faker.seed_instance(SEED)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    found: dict[str, str] = {}
    while len(found) < count:
        kind = rng.random()
        if kind < 0.6:
            name = "".join(rng.choices(syllables, k=rng.randint(2, 4))).capitalize()
        else:
            name = faker.first_name() if kind < 0.7 else faker.name()
        found.setdefault(name.casefold(), name)
    return list(found.values())


def make_captions(count: int, names: Sequence[Sequence[str]], rng: random.Random) -> list[str]:
    """Captions of about 45 words; caption i uses some of `names[i]`, in brackets and bare."""
    from faker import Faker

    faker = Faker("en_US")
    faker.seed_instance(SEED)
    vocabulary = sorted({faker.word() for _ in range(3000)})
    captions = []
    for own in names:
        words = rng.choices(vocabulary, k=rng.randint(36, 48))
        for name in own:
            if rng.random() < 0.7:
                words.insert(rng.randrange(len(words)), f"<{name}>" if rng.random() < 0.6 else name)
        captions.append(" ".join(words) + ".")
    assert len(captions) == count
    return captions


# 1. The paper's rules in Python --------------------------------------------------------------------------------------


def paper_ict(completions: Sequence[str], required: Sequence[Sequence[str]], escape: bool) -> list[float]:
    """Single: named, not closed; multi: n/m; at least 100 characters. `escape`: by regular expression, as published."""

    def has(text: str, part: str) -> bool:
        return re.search(re.escape(part), text) is not None if escape else part in text

    scores = []
    for text, names in zip(completions, required, strict=True):
        if len(text) < 100:
            scores.append(0.0)
        elif len(names) == 1:
            scores.append(float(has(text, f"<{names[0]}>") and not has(text, f"</{names[0]}>")))
        else:
            scores.append(sum(has(text, f"<{name}>") for name in names) / len(names))
    return scores


def paper_tokens(completions: Sequence[str], names: Sequence[str]) -> int:
    """The paper's evaluation: which names of a database are a token of the caption, as `<name>` or `name`."""
    found = 0
    tagged = [(name, f"<{name}>") for name in names]
    for text in completions:
        tokens = {word.strip(".,!?;:()[]{}\"'-") for word in text.split()}
        found += sum(name in tokens or tag in tokens for name, tag in tagged)
    return found


def paper_iou(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> list[float]:
    """The published overlap, box by box."""
    values = []
    for (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) in zip(a, b, strict=True):
        x1, y1, x2, y2 = max(ax1, bx1), max(ay1, by1), min(ax2 - 1, bx2 - 1), min(ay2 - 1, by2 - 1)
        shared = (x2 - x1 + 1) * (y2 - y1 + 1) if x1 < x2 and y1 < y2 else 0
        areas = max(0, ax2 - ax1) * max(0, ay2 - ay1) + max(0, bx2 - bx1) * max(0, by2 - by1)
        values.append(shared / max(1, areas - shared))
    return values


def against_python(completions: int, repeats: int) -> list[Row]:
    import numpy as np

    from repic_rewards.boxes import iou, iou_paper
    from repic_rewards.ict import score_names
    from repic_rewards.names import NameMatcher, encode
    from repic_rewards.search import Sets

    rng = random.Random(SEED)
    group = 8
    names = make_names(1000, rng)
    required = [tuple(rng.sample(names, rng.choice((1, 1, 2, 3)))) for _ in range(completions // group)]
    required = [wish for wish in required for _ in range(group)]
    texts = make_captions(completions, required, rng)
    rows = []

    ours_paper, scores = least(lambda: score_names(texts, required, mode="paper"), repeats)
    ours_strict, _ = least(lambda: score_names(texts, required), repeats)
    # The same names and texts as arrays, as the boxes are given: one UTF-8 buffer with offsets, and sets of names.
    buffer, offsets = encode(texts)
    flat = np.array([names.index(name) for wish in required[::group] for name in wish], np.int32)
    at = np.cumsum([0, *map(len, required[::group])], dtype=np.int64)
    sets = Sets(np.repeat(np.arange(len(at) - 1, dtype=np.int32), group), at, flat)
    on_buffer = {}
    for mode in ("paper", "strict"):
        matcher = NameMatcher(names, mode=mode)
        on_buffer[mode], found = least(lambda matcher=matcher: matcher.find_in(buffer, offsets, sets), repeats)
    for label, escape in (("re.search(re.escape(..)), as published", True), ("`in`", False)):
        theirs, expected = least(lambda escape=escape: paper_ict(texts, required, escape), 1 if escape else repeats)
        assert expected == scores
        rows.append(row("ICT, own 1-3 names, paper rule", f"Python {label}", theirs, ours_paper, n=completions))
        rows.append(row("ICT, own 1-3 names, strict rule", f"Python {label}", theirs, ours_strict, n=completions))
        for mode, ours in on_buffer.items():
            rows.append(row(f"... on a buffer, {mode} rule", f"Python {label}", theirs, ours, n=completions))

    for count in (100, 1000):
        some = names[:count]
        theirs, _ = least(lambda some=some: paper_tokens(texts, some), 1)
        ours, _ = least(lambda some=some: NameMatcher(some).find(texts), repeats)
        rows.append(
            row(f"{count} names in every caption, strict rule", "Python token sets", theirs, ours, n=completions)
        )
        within, expected = least(lambda some=some: [[f"<{n}>" in text for n in some] for text in texts], 1)
        ours, found = least(lambda some=some: NameMatcher(some, mode="paper").find(texts), repeats)
        assert sum(map(sum, expected)) == len(found.text)
        rows.append(row(f"{count} names in every caption, paper rule", "Python `in`", within, ours, n=completions))

    a, b = make_boxes(completions), make_boxes(completions, SEED + 1)
    listed = a.round().astype(int).tolist(), b.round().astype(int).tolist()
    theirs, expected = least(lambda: paper_iou(*listed), repeats)
    for label, kernel in (("paper", iou_paper), ("strict", iou)):
        ours, found = least(lambda kernel=kernel: kernel(a.round(), b.round()), repeats)
        assert label == "strict" or abs(found - expected).max() < 1e-12
        rows.append(row(f"IoU of pairs, {label} rule", "Python", theirs, ours, n=completions))
    return rows


# 2. pyahocorasick ----------------------------------------------------------------------------------------------------


def is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def automaton_of(phrases: Sequence[str]) -> Any:
    import ahocorasick

    automaton = ahocorasick.Automaton()
    for phrase in phrases:
        automaton.add_word(phrase, (phrase, len(phrase)))
    automaton.make_automaton()
    return automaton


def find_substrings(automaton: Any, texts: Sequence[str]) -> int:
    return sum(1 for text in texts for _ in automaton.iter(text))


def find_phrases(automaton: Any, texts: Sequence[str]) -> int:
    """Whole phrases without case; of several that start together the longest, as ours."""
    found = 0
    for text in texts:
        folded = text.casefold()
        longest: dict[int, int] = {}
        for last, (_, size) in automaton.iter(folded):
            begin, end = last - size + 1, last + 1
            if (begin and is_word(folded[begin - 1])) or (end < len(folded) and is_word(folded[end])):
                continue
            longest[begin] = max(end, longest.get(begin, 0))
        behind = 0
        for begin, end in sorted(longest.items()):
            if begin >= behind:
                found, behind = found + 1, end
    return found


def against_ahocorasick(captions: int, names: int, repeats: int) -> list[Row]:
    from repic_rewards.names import NameMatcher

    rng = random.Random(SEED)
    everyone = make_names(names, rng)
    texts = make_captions(captions, [rng.sample(everyone, rng.randint(0, 3)) for _ in range(captions)], rng)
    size = {"n": captions, "names": names, "megabytes": sum(map(len, texts)) / 1e6}

    tags = automaton_of([f"<{name}>" for name in everyone])
    theirs, expected = least(lambda: find_substrings(tags, texts), repeats)
    matcher = NameMatcher(everyone, mode="paper")
    ours, found = least(lambda: matcher.find(texts), repeats)
    assert found.count.sum() == expected
    rows = [row("`<name>` exactly", "pyahocorasick", theirs, ours, **size)]

    phrases = automaton_of([name.casefold() for name in everyone])
    theirs, expected = least(lambda: find_phrases(phrases, texts), repeats)
    matcher = NameMatcher(everyone, bare="always")
    ours, found = least(lambda: matcher.find(texts), repeats)
    assert found.count.sum() == expected, (found.count.sum(), expected)
    rows.append(row("whole phrases, any case, same mentions", "pyahocorasick + boundary test", theirs, ours, **size))
    alone, _ = least(lambda: find_substrings(phrases, texts), repeats)
    rows.append(row("... and without its boundary test", "pyahocorasick, substrings only", alone, ours, **size))

    begin = time.process_time()
    automaton_of([name.casefold() for name in everyone])
    theirs = time.process_time() - begin
    ours, _ = least(lambda: NameMatcher(everyone, bare="always"), repeats)
    rows.append(row("building the matcher", "pyahocorasick", theirs, ours, names=names))
    return rows


# 3. torchvision ------------------------------------------------------------------------------------------------------


def make_boxes(count: int, seed: int = SEED) -> Any:
    import numpy as np

    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0, 300, (count, 4))
    boxes[:, 2:] = boxes[:, :2] + rng.uniform(20, 400, (count, 2))
    return boxes


def against_torchvision(pairs: int, side: int, repeats: int) -> list[Row]:
    import torch
    from torchvision.ops import box_iou

    from repic_rewards.boxes import iou, iou_matrix

    torch.set_num_threads(1)
    rows = []
    a, b = make_boxes(side), make_boxes(side, SEED + 1)
    first, second = torch.from_numpy(a), torch.from_numpy(b)
    theirs, expected = least(lambda: box_iou(first, second), repeats)
    ours, found = least(lambda: iou_matrix(a, b), repeats)
    assert abs(found - expected.numpy()).max() < 1e-12
    rows.append(row(f"IoU matrix {side} x {side}", "torchvision.ops.box_iou", theirs, ours))

    a, b = make_boxes(pairs), make_boxes(pairs, SEED + 1)
    first, second = torch.from_numpy(a), torch.from_numpy(b)

    def paired() -> Any:
        """torchvision has none for pairs: the same arithmetic on tensors."""
        sides = (torch.min(first[:, 2:], second[:, 2:]) - torch.max(first[:, :2], second[:, :2])).clamp(min=0)
        shared = sides.prod(dim=1)
        areas = [(box[:, 2:] - box[:, :2]).prod(dim=1) for box in (first, second)]
        return shared / (areas[0] + areas[1] - shared)

    theirs, expected = least(paired, repeats)
    ours, found = least(lambda: iou(a, b), repeats)
    assert abs(found - expected.numpy()).max() < 1e-12
    rows.append(row("IoU of pairs", "torch, vectorised (torchvision has no pairs)", theirs, ours, n=pairs))
    blocks = list(zip(first.split(8), second.split(8), strict=True))
    theirs, _ = least(lambda: [box_iou(x, y).diagonal() for x, y in blocks], 1)
    rows.append(row("IoU of pairs", "torchvision.ops.box_iou, diagonal of 8 x 8 blocks", theirs, ours, n=pairs))
    return rows


# Compilation, the cache, and the GIL ---------------------------------------------------------------------------------

FIRST_SCORES = """
import time; begin = time.process_time()
from repic_rewards.boxes import iou, iou_matrix, iou_paper
from repic_rewards.ict import score_names
imported = time.process_time() - begin
import numpy as np
box = np.array([[0., 0., 1., 1.]])
iou(box, box), iou_matrix(box, box), iou_paper(box, box)
score_names(["<bo>"], [["bo"]]), score_names(["<bo>"], [["bo"]], mode="paper")
print(imported, time.process_time() - begin - imported)
"""


def compilation() -> Row:
    """CPU seconds until the first scores of a process: with an empty cache, and with a full one."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(Path(__file__).resolve().parents[1] / "rewards"), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "NUMBA_CACHE_DIR": folder, "PYTHONPATH": path}
        command = [sys.executable, "-c", FIRST_SCORES]
        outputs = [subprocess.run(command, env=env, capture_output=True, text=True, check=True) for _ in range(2)]
    cold, warm = ([float(part) for part in output.stdout.split()] for output in outputs)
    return {"import_seconds": warm[0], "first_process": cold[1], "second_process": warm[1]}


def two_threads(texts: int) -> Row:
    """Wall seconds of the kernel twice in a row and in two threads at once."""
    from repic_rewards.names import NameMatcher, encode

    rng = random.Random(SEED)
    names = make_names(500, rng)
    buffer, offsets = encode(make_captions(texts, [rng.sample(names, 2) for _ in range(texts)], rng))
    matcher = NameMatcher(names)
    best = [float("inf"), float("inf")]
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(2):
            matcher.find_in(buffer, offsets)
        best[0] = min(best[0], time.perf_counter() - begin)
        threads = [threading.Thread(target=matcher.find_in, args=(buffer, offsets)) for _ in range(2)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best[1] = min(best[1], time.perf_counter() - begin)
    return {"one_after_the_other": best[0], "two_threads": best[1], "speed_up": best[0] / best[1]}


def machine() -> Row:
    from importlib.metadata import version

    packages = ("numba", "numpy", "pyahocorasick", "torch", "torchvision")
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def show(title: str, rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading, justify in (("case", "left"), ("compared with", "left"), ("theirs ms", "right"), ("ours ms", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("ratio", justify="right")
    for entry in rows:
        cells = [f"{1000 * entry[key]:,.2f}" for key in ("their_seconds", "our_seconds")]
        table.add_row(entry["case"], entry["theirs"], *cells, f"{entry['ratio']:.1f}x")
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    options = parser.parse_args()
    small = 16 if options.quick else 1
    repeats = 2 if options.quick else 5
    report: dict[str, Any] = {"machine": machine(), "quick": options.quick, "compilation": compilation()}
    against_python(64, 1)
    report["python"] = against_python(64_000 // small, repeats)
    show(f"{64_000 // small:,} completions: Python (the paper's rules) and ours", report["python"])
    against_ahocorasick(64, 64, 1)
    report["ahocorasick"] = against_ahocorasick(100_000 // small, 10_000 // small, repeats)
    show(f"{100_000 // small:,} captions x {10_000 // small:,} names", report["ahocorasick"])
    against_torchvision(64, 8, 1)
    report["torchvision"] = against_torchvision(64_000 // small, 4096 // small, repeats)
    show("Boxes: torchvision and ours", report["torchvision"])
    report["threads"] = two_threads(64_000 // small)
    first = report["compilation"]
    print(
        f"compiling: {first['first_process']:.1f} s once, {first['second_process']:.2f} s from the cache in later",
        end="",
    )
    print(f" processes (CPU); importing {first['import_seconds']:.2f} s")
    print(f"two threads at once: {report['threads']['speed_up']:.2f}x of one (the kernels release the GIL)")
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
