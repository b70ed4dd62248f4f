"""A judge that is slow, broken, hostile or gone; runs that are killed; and a key that must not be seen."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from repic_cli.evaluation.judging.cache import Reply, ReplyCache
from repic_cli.evaluation.judging.endpoint import GEMINI, OPENAI, parse_judge
from repic_plugins.errors import OptionError

Run = Callable[..., Any]
Two = Callable[[list[str], list[str]], tuple[Path, Path]]
KEY = "sk-test-5ZxH2kqQ8vT1mR7w"
CHAT_PAGE = b"<html><body>Bad gateway</body></html>"


@pytest.fixture
def pair(two_files: Two) -> tuple[Path, Path]:
    return two_files(["<bo> naps"], ["a dog"])


@pytest.fixture
def many(two_files: Two) -> tuple[Path, Path]:
    return two_files([f"<bo> number {i}" for i in range(12)], [f"a dog {i}" for i in range(12)])


def prefers_bo(peer: Any, asked: Any) -> Any:
    return peer.say("A" if "<bo>" in asked.captions[0] else "B")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_errors_that_pass_are_waited_for(pair: Any, peer: Any, run_judge: Run, status: int) -> None:
    peer.answer = lambda asked, before: prefers_bo(peer, asked) if before else peer.say("busy", status=status)
    found = run_judge(*pair, "--judge", peer.spec, "--no-pictures", "--json").json
    assert found["verdicts"]["a"] == 1 and len(peer.asked) == 4
    assert found["requests"] == {"sent": 2, "repeated": 2}


def test_retry_after_is_honoured(pair: Any, peer: Any, run_judge: Run) -> None:
    times: list[float] = []

    def answer(asked: Any, before: int) -> Any:
        times.append(time.monotonic())
        return prefers_bo(peer, asked) if before else peer.say("slow down", status=429, headers={"Retry-After": "3"})

    peer.answer = answer
    assert run_judge(*pair, "--judge", peer.spec, "--no-pictures").code == 0
    # Its own waits are half a second at first.
    assert len(times) == 4 and min(times[1] - times[0], times[3] - times[2]) >= 3


@pytest.mark.parametrize(
    "broken",
    [
        {"raw": CHAT_PAGE, "headers": {"Content-Type": "text/html"}},
        {"raw": CHAT_PAGE},
        {"raw": b'{"choices": [{"message"'},
        {"raw": b"{}"},
        {"raw": b'{"choices": []}'},
        {"raw": b'{"choices": [{"index": 0, "message": null}]}'},
        {"raw": b'{"choices": "none", "usage": 3}'},
        {"raw": b"[1, 2]"},
        {"raw": b"null"},
        {"raw": b"\xff\xfe\x00"},
        {"raw": b'{"choices": [{"message": {"content": {"a": 1}}, "finish_reason": "stop"}]}'},
    ],
    ids=str,
)
def test_what_is_no_completion_is_asked_again_and_not_kept(
    pair: Any, peer: Any, run_judge: Run, broken: dict[str, Any]
) -> None:
    peer.answer = lambda asked, before: prefers_bo(peer, asked) if before else peer.say(**broken)
    found = run_judge(*pair, "--judge", peer.spec, "--no-pictures", "--json").json
    assert found["verdicts"]["a"] == 1 and len(peer.asked) == 4
    peer.answer = lambda asked, before: peer.say(**broken)
    ran = run_judge(*pair, "--judge", peer.spec, "--no-pictures", "--retries", 0, "--max-tokens", 9)
    assert ran.code == 5 and "2 requests failed: the reply is no chat completion" in ran.err


def test_a_judge_that_takes_too_long_is_asked_again(pair: Any, peer: Any, run_judge: Run) -> None:
    peer.answer = lambda asked, before: prefers_bo(peer, asked) if before else peer.say("A", wait=3)
    found = run_judge(*pair, "--judge", peer.spec, "--no-pictures", "--timeout", 0.5, "--json").json
    assert found["verdicts"]["a"] == 1 and found["requests"]["repeated"] == 2


def test_refusals_failures_and_garbage_are_counted_apart(two_files: Two, peer: Any, run_judge: Run) -> None:
    words = ["good", "sorry", "filtered", "told", "mumble", "broken"]
    said = {
        "good": {"text": '{"reason": "", "verdict": "tie"}'},
        "sorry": {"text": "I'm sorry, I can't help with that."},
        "filtered": {"text": "", "finish": "content_filter"},
        "told": {"text": None, "message": {"refusal": "I will not."}},
        "mumble": {"text": "They are captions."},
        "broken": {"text": "no such thing", "status": 422},
    }
    peer.answer = lambda asked, before: peer.say(**said[next(w for w in words if w in "".join(asked.captions))])
    files = two_files([f"{word} a" for word in words], [f"{word} b" for word in words])
    ran = run_judge(*files, "--judge", peer.spec, "--no-pictures", "--json")
    assert ran.code == 0
    assert ran.json["verdicts"] == {"a": 0, "b": 0, "tie": 1, "refused": 3, "unreadable": 1, "failed": 1}
    assert ran.json["replies"] == {"first": 0, "second": 0, "tie": 2, "refused": 6, "unreadable": 2, "failed": 2}
    assert ran.json["win_rate_a"]["n"] == 1
    assert ran.json["failures"] == {"Error code: 422 - no such thing": 2}
    # What was paid for is kept whatever it says; only the two that failed are asked again.
    before = len(peer.asked)
    run_judge(*files, "--judge", peer.spec, "--no-pictures")
    assert ["broken" in asked.captions[0] for asked in peer.asked[before:]] == [True, True]


def test_half_a_character_in_a_reply_is_kept_as_a_question_mark(
    pair: Any, peer: Any, run_judge: Run, tmp_path: Path
) -> None:
    peer.answer = lambda asked, before: peer.say('{"reason": "\ud83d \x00", "verdict": "A"}')
    assert run_judge(*pair, "--judge", peer.spec, "--no-pictures", "--out", tmp_path / "o.jsonl").code == 0
    again = run_judge(*pair, "--judge", peer.spec, "--no-pictures", "--out", tmp_path / "o.jsonl", "--json").json
    assert again["requests"]["sent"] == 0 and again["verdicts"]["tie"] == 1
    assert json.loads((tmp_path / "o.jsonl").read_text())["a_first"]["text"].startswith('{"reason": "? ')


def test_what_failed_for_good_is_asked_on_the_next_run(many: Any, peer: Any, run_judge: Run) -> None:
    def fails(asked: Any, before: int) -> Any:
        return peer.say("oops", status=500) if "number 7" in "".join(asked.captions) else prefers_bo(peer, asked)

    peer.answer = fails
    ran = run_judge(*many, "--judge", peer.spec, "--no-pictures", "--retries", 1, "--json")
    assert ran.code == 0 and ran.json["verdicts"] == {
        "a": 11, "b": 0, "tie": 0, "refused": 0, "unreadable": 0, "failed": 1
    }  # fmt: skip
    assert len(peer.asked) == 22 + 2 * 2
    assert "warning: 2 requests failed" in ran.err
    peer.answer = lambda asked, before: prefers_bo(peer, asked)
    again = run_judge(*many, "--judge", peer.spec, "--no-pictures", "--json").json
    assert again["verdicts"]["a"] == 12 and len(peer.asked) == 26 + 2
    assert again["tokens_paid_now"]["in"] == 200


def test_a_judge_that_only_fails_is_given_up(two_files: Two, peer: Any, run_judge: Run) -> None:
    files = two_files([f"a {i}" for i in range(60)], [f"b {i}" for i in range(60)])
    peer.answer = lambda asked, before: peer.say("bad request", status=400)
    ran = run_judge(*files, "--judge", peer.spec, "--no-pictures", "--concurrency", 2)
    assert ran.code == 7 and "12 requests failed one after another" in ran.err and "bad request" in ran.err
    assert 12 <= len(peer.asked) <= 14


def test_a_judge_that_is_not_there(pair: Any, peer: Any, run_judge: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ran = run_judge(*pair, "--judge", f"http://127.0.0.1:{port}/v1#m", "--no-pictures", "--retries", 1)
    assert ran.code == 5 and "2 requests failed: Connection error" in ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ({"text": "who are you?", "status": 401}, 2, "--key-variable"),
        ({"text": "pay first", "status": 402}, 7, "no credit"),
        ({"text": "no such model", "status": 404}, 7, "check the address and the model tester"),
        (
            {"status": 429, "raw": b'{"error": {"message": "quota", "code": "insufficient_quota"}}'},
            7,
            "no credit",
        ),
        (
            {"status": 400, "raw": b'{"error": {"message": "unsupported", "param": "temperature"}}'},
            2,
            "--default-temperature",
        ),
    ],
)
def test_errors_that_every_request_would_meet_end_the_run_at_once(
    many: Any, peer: Any, run_judge: Run, answer: dict[str, Any], code: int, words: str
) -> None:
    def later(asked: Any, before: int) -> Any:
        return prefers_bo(peer, asked) if len(peer.asked) <= 4 else peer.say(**answer)

    peer.answer = later
    ran = run_judge(*many, "--judge", peer.spec, "--no-pictures", "--concurrency", 1, "--retries", 0)
    assert ran.code == code and words in ran.err and len(peer.asked) == 5
    assert "4 replies of this run are kept" in ran.err
    peer.answer = lambda asked, before: prefers_bo(peer, asked)
    assert run_judge(*many, "--judge", peer.spec, "--no-pictures").code == 0
    assert len(peer.asked) == 5 + 20


def test_no_more_requests_at_a_time_than_allowed(many: Any, peer: Any, run_judge: Run) -> None:
    under_way, most = Counter[str](), []

    def slow(asked: Any, before: int) -> Any:
        with peer.lock:
            under_way["now"] += 1
            most.append(under_way["now"])
        time.sleep(0.05)
        with peer.lock:
            under_way["now"] -= 1
        return prefers_bo(peer, asked)

    peer.answer = slow
    run_judge(*many, "--judge", peer.spec, "--no-pictures", "--concurrency", 3)
    assert len(most) == 24 and max(most) == 3


def start(files: tuple[Path, Path], peer: Any, *more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "repic_cli", "eval", "judge", *map(str, files)]
    command += ["--judge", peer.spec, "--no-pictures", "--json", *map(str, more)]
    # Tests that were started in the background ignore Ctrl-C, and so would their children.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_pays_nothing_twice(
    many: Any, peer: Any, run_judge: Run, tmp_path: Path, stop: signal.Signals
) -> None:
    answered: list[Any] = []

    def slow(asked: Any, before: int) -> Any:
        time.sleep(0.1)
        answered.append(asked.body)
        return prefers_bo(peer, asked)

    peer.answer = slow
    process = start(many, peer, "--concurrency", 1)
    wait_for(lambda: len(answered) >= 7, process)
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if stop == signal.SIGKILL else 130)
    if stop == signal.SIGINT:
        assert "replies of this run are kept; the same command goes on" in err and "Traceback" not in err
    assert len(peer.asked) < 24
    with sqlite3.connect(tmp_path / "cache/repic/judge.sqlite") as base:
        kept = base.execute("SELECT count(*) FROM replies").fetchone()[0]
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # All but the one that was under way when the process died; Ctrl-C waits for that.
    first = len(peer.asked)
    assert first - kept in ((0, 1) if stop == signal.SIGKILL else (0,)) and kept >= 6
    found = run_judge(*many, "--judge", peer.spec, "--no-pictures", "--json").json
    assert found["verdicts"]["a"] == 12
    assert found["requests"]["sent"] == len(peer.asked) - first == 24 - kept
    times = Counter(json.dumps(asked.body) for asked in peer.asked)
    assert len(times) == 24 and sum(times.values()) - 24 == first - kept


def test_two_processes_share_a_cache(many: Any, peer: Any, run_judge: Run) -> None:
    peer.answer = lambda asked, before: prefers_bo(peer, asked)
    both = [start(many, peer, "--concurrency", 4) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert json.loads(out)["verdicts"]["a"] == 12
    asked = len(peer.asked)
    run_judge(*many, "--judge", peer.spec, "--no-pictures")
    assert len(peer.asked) == asked


def test_the_cache_gives_back_what_it_took(tmp_path: Path) -> None:
    reply = Reply("ü\n{}", "", "stop", 3, None, "m")
    path = tmp_path / "deep/er/c.sqlite"
    with ReplyCache(path) as cache:
        cache.put("k", reply)
    with ReplyCache(path) as cache:
        assert cache.get("k") == reply and cache.get("other") is None
    assert path.stat().st_mode & 0o077 == 0


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_the_key_is_sent_and_seen_nowhere_else(
    many: Any, peer: Any, run_judge: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the server repeats it, in replies and in errors."""

    def echo(asked: Any, before: int) -> Any:
        if "number 3" in "".join(asked.captions):
            return peer.say(f"your key is {asked.headers['authorization']}", status=400)
        if "number 4" in "".join(asked.captions):
            return peer.say(raw=f"<html>{asked.headers['authorization']}".encode())
        return peer.say(f'{{"reason": "{asked.headers["authorization"]}", "verdict": "tie"}}', finish=KEY)

    peer.answer = echo
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    options = ("--judge", peer.spec, "--no-pictures", "--key-variable", "MY_KEY", "--retries", 0)
    ran = run_judge(*many, *options, "--out", tmp_path / "out.jsonl")
    assert ran.code == 0 and {asked.headers["authorization"] for asked in peer.asked} == {f"Bearer {KEY}"}
    assert "your key is Bearer [key]" in ran.err
    assert "Bearer [key]" in (tmp_path / "out.jsonl").read_text()
    assert KEY not in ran.out + ran.err + run_judge(*many, *options, "--json").out
    assert files_with(tmp_path, "Bearer [key]") and not files_with(tmp_path, KEY)
    peer.answer = lambda asked, before: peer.say(f"wrong key {KEY}", status=401)
    ran = run_judge(*many, *options, "--max-tokens", 5)
    assert ran.code == 2 and "check the key in MY_KEY" in ran.err and KEY not in ran.err


def test_what_belongs_to_openai_goes_to_nobody_else(
    pair: Any, peer: Any, run_judge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_ORG_ID": "org-secret",
        "OPENAI_PROJECT_ID": "proj-secret",
        "OPENAI_CUSTOM_HEADERS": "X-Gate: secret-gate",
        "GEMINI_API_KEY": "gem-secret-123456",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    run_judge(*pair, "--judge", peer.spec, "--no-pictures")
    sent = json.dumps([asked.headers for asked in peer.asked])
    assert len(peer.asked) == 2 and KEY not in sent and "secret" not in sent
    assert {name: os.environ[name] for name in secrets} == secrets


def test_openai_is_asked_with_its_key(pair: Any, peer: Any, run_judge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", peer.address)
    missing = run_judge(*pair, "--judge", "openai:gpt-4o", "--no-pictures")
    assert missing.code == 2 and "OPENAI_API_KEY" in missing.err and not peer.asked
    assert run_judge(*pair, "--judge", "openai:gpt-4o", "--no-pictures", "--dry-run").code == 0
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert run_judge(*pair, "--judge", "openai:gpt-4o", "--no-pictures").code == 0
    asked = peer.asked[0]
    assert asked.headers["authorization"] == f"Bearer {KEY}" and asked.path == "/v1/chat/completions"
    assert asked.body["model"] == "gpt-4o" and asked.body["max_completion_tokens"] == 1000
    assert "max_tokens" not in asked.body


def test_where_judges_are() -> None:
    assert parse_judge("openai:gpt-4o", environ={}).base_url == OPENAI
    gemini = parse_judge("gemini:gemini-2.5-flash", environ={})
    assert (gemini.base_url, gemini.model, gemini.variable) == (GEMINI, "gemini-2.5-flash", "GEMINI_API_KEY")
    local = parse_judge("http://localhost:8000/v1/#org/model:7b", environ={})
    assert (local.base_url, local.model, local.variable) == ("http://localhost:8000/v1", "org/model:7b", "")
    assert local.key({}) == "none"


@pytest.mark.parametrize(
    "spec",
    ["", "gpt-4o", "openai:", "openai", "http://localhost:8000/v1", "http://#m", "ftp://x/v1#m", "file:///etc#m",
     "http://me:sk-secret@host/v1#m", "https://host/v1?key=sk-secret#m", "http://[::1/v1#m", "http://host:99999/v1#m",
     "gemini:\x1b[31m"],
)  # fmt: skip
def test_what_is_no_judge_is_refused_without_repeating_a_password(spec: str) -> None:
    with pytest.raises(OptionError) as error:
        parse_judge(spec, environ={})
    assert "sk-secret" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_key_with_a_line_break_is_told_without_showing_it() -> None:
    with pytest.raises(OptionError, match="MY_KEY") as error:
        parse_judge("openai:m", "MY_KEY", {}).key({"MY_KEY": f"{KEY}\nX-Other: 1"})
    assert KEY not in str(error.value)


@pytest.mark.parametrize("given", [KEY, "AIzaSyD4x", "my_key", ""])
def test_a_key_in_place_of_its_variable_is_not_repeated(given: str) -> None:
    with pytest.raises(OptionError, match="name of an environment variable") as error:
        parse_judge("openai:m", given, {})
    assert not given or given not in str(error.value)
