"""An OpenAI-compatible server on loopback that answers as a test says, and captions to compare.

It is a peer that speaks the protocol over a real socket; nothing of ours is replaced.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from repic_cli.app import main

_CAPTION = re.compile(r"--- caption ([AB]) (\w+) begins ---\n(.*)\n--- caption \1 \2 ends ---")


@dataclass
class Asked:
    """One request as it came in."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str

    @property
    def user(self) -> list[dict[str, Any]]:
        content = self.body["messages"][-1]["content"]
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    @property
    def captions(self) -> tuple[str, str]:
        """What stands as A and as B."""
        found = {label: json.loads(text) for label, _, text in _CAPTION.findall(self.user[0]["text"])}
        return found["A"], found["B"]


@dataclass
class Say:
    """What the peer sends. `text` becomes a completion; `raw` is sent as it is."""

    text: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    wait: float = 0.0
    usage: tuple[int, int] | None = (100, 10)
    message: dict[str, Any] = field(default_factory=dict)
    finish: str = "stop"

    def payload(self, model: str) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            return json.dumps({"error": {"message": self.text, "type": "test", "code": None, "param": None}}).encode()
        message = {"role": "assistant", "content": self.text, **self.message}
        body: dict[str, Any] = {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
        }  # fmt: skip
        if self.usage is not None:
            sent, written = self.usage
            body["usage"] = {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written}
        return json.dumps(body).encode()


class Peer(ThreadingHTTPServer):
    """`answer` gets each request and how often the same one came before, and gives a `say`; `asked` keeps all."""

    daemon_threads = True
    say = Say

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked, int], Say] = lambda asked, before: Say('{"reason": "r", "verdict": "tie"}')
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def spec(self) -> str:
        return f"{self.address}#tester"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was killed, or did not wait


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Peer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = Asked(json.loads(body), dict(self.headers), self.path)
        with self.server.lock:
            before = sum(other.body == asked.body for other in self.server.asked)
            self.server.asked.append(asked)
        said = self.server.answer(asked, before)
        time.sleep(said.wait)
        payload = said.payload(asked.body["model"])
        self.send_response(said.status)
        for name, value in {"Content-Type": "application/json", **said.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        pass


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """The server, which no proxy stands before."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    server = Peer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Call `repic eval judge` with a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["eval", "judge", *map(str, arguments)])
        out, err = capsys.readouterr()
        return Ran(int(stop.value.code or 0), out, err)

    return run


def write_rows(path: Path, captions: list[str], keys: list[list[str]] | None = None) -> Path:
    """Our JSON lines: picture 0.jpg, 1.jpg ... with these captions."""
    rows = [
        {"image": f"{number}.jpg", "keys": keys[number] if keys else ["<bo>"], "caption": caption}
        for number, caption in enumerate(captions)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def rows_file() -> Callable[..., Path]:
    return write_rows


@pytest.fixture
def two_files(tmp_path: Path) -> Callable[[list[str], list[str]], tuple[Path, Path]]:
    """Two files of captions for the same pictures."""
    return lambda a, b: (write_rows(tmp_path / "a.jsonl", a), write_rows(tmp_path / "b.jsonl", b))
