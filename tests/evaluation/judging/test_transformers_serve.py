"""Against `transformers serve` with the embedded model: a real OpenAI-compatible server, and real pictures.

The embedded model knows no English beyond its toy world. So that its replies can be read, the served copy is biased to
the letter A: it is the judge that looks at the place of a caption only, which both orders have to show.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repic_cli.models.load import embedded_folder

Run = Callable[..., Any]


def biased_copy(folder: Path) -> Path:
    """The embedded model, which answers anything with `A` and the end."""
    from transformers import AutoTokenizer

    shutil.copytree(embedded_folder(), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    letter = tokenizer.encode("A", add_special_tokens=False)
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    config["sequence_bias"] = [[letter, 1e4], [[*letter, config["eos_token_id"][0]], 1e5]]
    path.write_text(json.dumps(config))
    assert len(letter) == 1
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What to give to `--judge`."""
    folder = biased_copy(tmp_path_factory.mktemp("served") / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder.parent / "log.txt"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=output,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1#{folder}"
    finally:
        process.kill()
        process.wait()


def wait_until_healthy(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 240
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(address, timeout=5):
                return
        except OSError:
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.2)


@pytest.fixture
def files(tmp_path: Path, two_files: Callable[..., Any]) -> Any:
    import numpy as np
    from PIL import Image

    from repic_cli.embedded.world import identities, pick, render_scene

    rng = np.random.default_rng(3)
    for number in range(3):
        Image.fromarray(render_scene(rng, pick(rng, identities("held_out"), 2)).image).save(tmp_path / f"{number}.jpg")
    return two_files(["<bo> naps", "a red star", "nothing"], ["a dog", "<bo> is here", "at all"])


def test_a_judge_that_looks_at_the_place_only(
    served: str, files: Any, run_judge: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    out = tmp_path / "judged.jsonl"
    found = run_judge(*files, "--judge", served, "--out", out, "--json").json
    assert found["verdicts"] == {"a": 0, "b": 0, "tie": 3, "refused": 0, "unreadable": 0, "failed": 0}
    assert found["order_dependent"] == 3 and found["replies"]["first"] == 6
    # Both replies of a pair agree, so these are three observations, of which Wilson's interval begins at 0.44.
    assert found["first_chosen"]["value"] == 1 and 0.4 < found["first_chosen"]["low"] < 0.5
    assert found["win_rate_a"]["value"] == 0.5
    paid = found["tokens_paid_now"]
    assert paid["out"] == 12 and paid["replies_without_count"] == 0  # `A` and the end, six times
    for line in map(json.loads, out.read_text().splitlines()):
        assert (line["a_first"]["text"], line["b_first"]["text"], line["verdict"]) == ("A", "A", "tie")
    again = run_judge(*files, "--judge", served, "--json").json
    assert again["requests"]["sent"] == 0 and again["tokens_of_kept_replies"] == paid
    # The pictures reached the model: larger ones of the same take more tokens.
    small = run_judge(*files, "--judge", served, "--max-side", 64, "--json").json
    assert small["requests"]["sent"] == 6 and small["tokens_paid_now"]["in"] < paid["in"]
    assert run_judge(*files, "--judge", served, "--no-pictures", "--json").json["order_dependent"] == 3


def test_what_the_server_says_of_another_model_is_told(
    served: str, files: Any, run_judge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ran = run_judge(*files, "--judge", f"{served.partition('#')[0]}#another", "--no-pictures")
    assert ran.code == 5 and "6 requests failed" in ran.err and "Server is pinned to" in ran.err
