"""Which judge is asked, where, and with which key. Keys come from the environment and go nowhere but to the judge."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from repic_plugins.errors import OptionError
from repic_plugins.text import clean

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI = "https://api.openai.com/v1"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
FORMS = "openai:MODEL, gemini:MODEL or http://HOST/v1#MODEL"
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_SHORTEST_KEY = 8
"""What is shorter is a stand-in such as `none`; hiding it would black out ordinary words."""


@dataclass(frozen=True)
class Endpoint:
    """A judge. `variable` names the environment variable of its key (empty: it wants none)."""

    spec: str
    base_url: str
    model: str
    variable: str
    limit_name: str = "max_tokens"
    """What the endpoint calls the longest reply."""
    own: bool = False
    """Whether it is OpenAI's, to which the client's other variables (organisation, project, headers) belong."""

    def key(self, environ: Mapping[str, str] = os.environ) -> str:
        """The key, without which OpenAI's client does not start. Raises `OptionError` when it is not set."""
        if not self.variable:
            return "none"
        key = environ.get(self.variable, "").strip()
        if not key:
            raise OptionError(f"--judge {self.spec} needs a key; set it in the environment variable {self.variable}")
        if not (key.isascii() and key.isprintable()):
            raise OptionError(f"the key in {self.variable} holds a character that no key has; set it anew")
        return key

    def client(self, timeout: float, retries: int) -> AsyncOpenAI:
        """OpenAI's client. It retries by itself (408, 409, 429, 5xx, time-outs), and honours Retry-After."""
        from openai import AsyncOpenAI, Timeout

        key = self.key()
        limits = Timeout(timeout, connect=min(timeout, 10.0))
        with _unseen("" if self.own else "OPENAI_"):
            return AsyncOpenAI(api_key=key, base_url=self.base_url, timeout=limits, max_retries=retries)

    def hide(self, text: str) -> str:
        """`text` without the key: servers repeat it in errors, and a hostile one could in its replies."""
        key = os.environ.get(self.variable, "").strip() if self.variable else ""
        return text.replace(key, "[key]") if len(key) >= _SHORTEST_KEY else text


def parse_judge(spec: str, key_variable: str | None = None, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """The endpoint that `--judge` means. Raises `OptionError`, which never repeats an address that may hold a key."""
    if key_variable is not None and not _VARIABLE.fullmatch(key_variable):  # not repeated: it may be the key itself
        raise OptionError("--key-variable: give the name of an environment variable in capitals, as MY_KEY")
    kind, colon, rest = spec.strip().partition(":")
    if kind in ("http", "https") and colon:
        base, model = _address(spec.strip(), "--judge")
        return Endpoint(f"{base}#{model}", base, _model(model), key_variable or "")
    if kind == "openai" and colon:
        # As OpenAI's client has it: the variable stands for a gateway that takes OpenAI's key.
        base = environ.get("OPENAI_BASE_URL", "").strip()
        base = _address(base, "OPENAI_BASE_URL")[0] if base else OPENAI
        variable = key_variable or "OPENAI_API_KEY"
        return Endpoint(spec.strip(), base, _model(rest), variable, "max_completion_tokens", own=True)
    if kind == "gemini" and colon:
        return Endpoint(spec.strip(), GEMINI, _model(rest), key_variable or "GEMINI_API_KEY")
    raise OptionError(f"--judge {clean(spec, 60)}: give {FORMS}")


def _address(text: str, option: str) -> tuple[str, str]:
    """The address without its end, and what stands behind `#`."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise OptionError(f"{option}: not an address; give it as http://localhost:8000/v1#MODEL")
    if parts.username or parts.password or parts.query:
        raise OptionError(
            f"{option}: the address must not hold a password or a query; put the key into an environment variable "
            "and name that with --key-variable"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", parts.fragment


def _model(text: str) -> str:
    if not text or not text.isprintable() or len(text) > 200:
        raise OptionError(f"--judge names no model; give {FORMS}")
    return text


@contextmanager
def _unseen(prefix: str) -> Iterator[None]:
    """Hide environment variables: OpenAI's client would send its organisation and headers to anybody's server."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if prefix and name.startswith(prefix)}
    try:
        yield
    finally:
        os.environ.update(hidden)
