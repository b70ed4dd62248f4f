"""What importing costs, what the tables hold, and that compiled code is kept and lets other threads run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest

import repic_rewards

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numba", "numpy", "torch", "repic_plugins", "repic_cli")


def run(code: str, **environment: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "rewards"), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_light_parts_import_nothing_heavy() -> None:
    light = "import sys, repic_rewards, repic_rewards.answers, repic_rewards.lengths, repic_rewards.formats"
    assert run(f"{light}, repic_rewards.parsing; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_scoring_needs_numpy_and_numba_alone() -> None:
    code = "import sys; from repic_rewards import score_names, iou; print([m for m in {} if m in sys.modules])"
    assert run(code.format(HEAVY)) == "['numba', 'numpy']"


def test_everything_public_can_be_had_from_the_package() -> None:
    for name in repic_rewards.__all__:
        assert callable(getattr(repic_rewards, name))
    with pytest.raises(AttributeError, match="no attribute 'haiku'"):
        repic_rewards.haiku  # noqa: B018


def test_tables_hold_what_python_knows(compiled: SimpleNamespace) -> None:
    tables = compiled.unicode_tables
    chars, folds = tables.tables()
    for code in (
        *range(0x3000),
        *range(0xA000, 0xAC00),
        *range(0xD7B0, 0xF900),
        *range(0xFB00, 0x20000),
        0xE0101,
        0x10FFFF,
    ):
        char = chr(code)
        record = int(chars[int(chars[code >> 8]) + (code & 255)])
        mark = char == "\u200d" or unicodedata.category(char)[0] == "M"
        word = char not in tables.APOSTROPHES and (char.isalnum() or char == "_" or mark)
        assert bool(record & tables.WORD) == word, hex(code)
        assert bool(record & tables.MARK) == mark, hex(code)
        assert bool(record & tables.SPACE) == char.isspace(), hex(code)
        at = record >> tables.FLAG_BITS
        folded = bytes(folds[at + 1 : at + 1 + int(folds[at])]).decode() if at else char
        assert folded == tables.fold_char(char), hex(code)


def test_fold_and_plain(compiled: SimpleNamespace) -> None:
    tables = compiled.unicode_tables
    assert tables.fold(" O’Brien\n\u00a0Straße‑X ") == "o'brien strasse-x"
    assert tables.plain(" O’Brien\n\u00a0Straße‑X ") == "O'Brien Straße-X"


def test_compiled_code_is_kept_on_disk(tmp_path: Path) -> None:
    code = (
        "from repic_rewards import boxes\nimport numpy as np\n"
        "box = np.array([[0., 0., 1., 1.]])\nassert boxes.iou(box, box) == [1.0]\n"
        "print(sum(boxes._pairs.stats.cache_hits.values()), sum(boxes._pairs.stats.cache_misses.values()))"
    )
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)) == "0 1"
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path)) == "1 0"


def test_machine_code_older_than_any_module_is_dropped(tmp_path: Path) -> None:
    from repic_rewards._jit import drop_stale

    kept, stale, foreign = (tmp_path / name for name in ("boxes.a.nbi", "search.b.nbi", "other.c.nbi"))
    for path in (kept, stale, foreign):
        path.touch()
    for path in (stale, foreign):
        os.utime(path, (1, 1))
    drop_stale(tmp_path)
    assert (kept.exists(), stale.exists(), foreign.exists()) == (True, False, True)


def test_kernels_run_where_no_cache_can_be_written() -> None:
    from repic_rewards._jit import kernel

    space: dict[str, Any] = {}
    exec(compile("def double(x):\n    return 2 * x", "<nowhere>", "exec"), space)  # numba finds no folder for it
    assert kernel(space["double"])(21) == 42


def test_kernels_let_other_threads_run(compiled: SimpleNamespace) -> None:
    """Another thread counts while the kernel works; under the GIL it would not get a turn before the end."""
    matcher = compiled.names.NameMatcher(["bo"])
    matcher.find(["warm up"])
    buffer, offsets = compiled.names.encode(["a dog and bo " * 2_000_000])
    begin, end, turns = threading.Event(), threading.Event(), []

    def count() -> None:
        begin.wait()
        while not end.is_set():
            turns.append(1)
            end.wait(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)  # no turn is given away by the interpreter meanwhile
    try:
        begin.set()
        before = len(turns)
        matcher.find_in(buffer, offsets)
        during = len(turns) - before
    finally:
        sys.setswitchinterval(interval)
        end.set()
        thread.join()
    assert during >= 3


def test_plain_copies_are_plain(plain: SimpleNamespace, compiled: SimpleNamespace) -> None:
    assert not isinstance(plain.search._strict, numba.core.dispatcher.Dispatcher)
    assert isinstance(compiled.search._strict, numba.core.dispatcher.Dispatcher)
    assert plain.names.NameMatcher is not compiled.names.NameMatcher
    assert np is plain.names.np
