"""Scoring saved captions, side by side in one run: `python benchmarks/scoring.py [--captions N] [--names M]`.

The method of the published scripts, written here in plain Python (tokens of each caption, each key of the pool looked
up in them), against `repic eval score`: its reading, the paper's rule, the strict rule over all names, and the whole
command as a process, with intervals and all it prints. The outcome of every slot must be the same.

Seconds are wall clock, with the CPU seconds beside them: on a busy machine those count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "rewards")]

SEED = 7
PER_CAPTION = (1, 2, 2, 4)
STRIPPED = ".,!?;:()[]{}\"'-"


def make_rows(captions: int, names: int) -> list[list[Any]]:
    """Rows as RePIC writes them: about 45 words, one to four keys, most of them named and sometimes another."""
    rng = random.Random(SEED)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    pool: dict[str, None] = {}
    while len(pool) < names:
        pool["".join(rng.choices(syllables, k=rng.randint(2, 4)))] = None
    keys = list(pool)
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) + "x" for _ in range(3000)]
    rows = []
    for number in range(captions):
        own = rng.sample(keys, rng.choice(PER_CAPTION))
        text = rng.choices(words, k=rng.randint(36, 48))
        said = [key for key in own if rng.random() < 0.8] + ([rng.choice(keys)] if rng.random() < 0.2 else [])
        for key in said:
            shape = rng.choice(("<{}>", "<{}>", "{}", "{},", "<{}>'s", "**{}**", "({})"))
            text.insert(rng.randrange(len(text)), shape.format(key.capitalize()))
        rows.append([f"./data/{number}.jpg", [f"<{key}>" for key in own], " ".join(text) + ".", "Caption it."])
    return rows


def published(rows: Sequence[Sequence[Any]]) -> list[list[str]]:
    """The outcome of each slot by the published method: per caption its tokens, per key a look at them."""
    pool = sorted({key.lower() for _, keys, _, _ in rows for key in keys})
    outcomes = []
    for _, keys, caption, _ in rows:
        tokens = {word.strip(STRIPPED) for word in caption.replace("</s>", "").lower().split()}
        wanted = [key.lower() for key in keys]
        there = [key for key in pool if key in tokens or key.strip("<>") in tokens]
        slots = []
        for key in wanted:
            if key in there:
                slots.append("hit")
            else:
                slots.append("miss_other" if any(other not in wanted for other in there) else "none")
        outcomes.append(slots)
    return outcomes


def timed(run: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Wall and CPU seconds of a call, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}, result


def command(path: Path) -> dict[str, float]:
    """Wall and CPU seconds of `repic eval score`, the second time (the first compiles, once on a machine)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:3])}
    for _ in range(2):
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "repic_cli", "eval", "score", str(path)],
            check=True, capture_output=True, env=environment,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seconds = {"wall": time.perf_counter() - wall, "cpu": cpu}
    return seconds


def measure(captions: int, names: int) -> dict[str, Any]:
    """The seconds of each part."""
    from repic_cli.evaluation.captioned.known import known_concepts
    from repic_cli.evaluation.captioned.paper import paper_rule
    from repic_cli.evaluation.captioned.rows import read_captions
    from repic_cli.evaluation.captioned.scores import score_captions
    from repic_cli.evaluation.captioned.strict import strict_scores

    made = make_rows(captions, names)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.json"
        path.write_text(json.dumps(made), encoding="utf-8")
        found: dict[str, Any] = {"bytes": path.stat().st_size}
        found["read"], read = timed(lambda: read_captions(path))
        rule = paper_rule(read.rows)
        known = known_concepts(read.rows)
        strict_scores(read.rows[:100], known)  # compiles, or reads what was compiled
        found["paper"], slots = timed(lambda: [rule.slots(row) for row in read.rows])
        found["strict"], strict = timed(lambda: strict_scores(read.rows, known))
        found["score"], _ = timed(lambda: score_captions("captions", read, known_concepts(read.rows)))
        found["command"] = command(path)
    found["published"], expected = timed(lambda: published(made))
    assert [list(own) for own in slots] == expected, "the outcomes differ"
    found["hits"] = {"paper": sum(own.count("hit") for own in expected), "strict": int(strict.hit.sum())}
    found["slots"] = sum(map(len, expected))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--names", type=int, default=1_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    options = parser.parse_args()
    found = measure(options.captions, options.names)
    print(f"{options.captions:,} captions x {options.names:,} names, {found['bytes'] / 2**20:.0f} MiB; seconds")
    theirs = found["published"]["cpu"]
    for label, name in (
        ("published method, plain Python (paper's rule only)", "published"),
        ("ours: reading and checking the file", "read"),
        ("ours: the paper's rule", "paper"),
        ("ours: the strict rule over all names", "strict"),
        ("ours: both rules and what neither has", "score"),
        ("ours: the command, from start to end", "command"),
    ):
        seconds = found[name]
        ratio = theirs / max(seconds["cpu"], 1e-9)
        print(f"  {label:52} wall {seconds['wall']:7.2f}  CPU {seconds['cpu']:7.2f}  {ratio:8.1f}x")
    hits = found["hits"]
    print(f"every slot the same; hits of {found['slots']:,}: paper {hits['paper']:,}, strict {hits['strict']:,}")
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    if options.json:
        from repic_cli.files import write_file

        write_file(options.json, json.dumps({"machine": machine, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
