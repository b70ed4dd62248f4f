"""Asking the judge: one request that OpenAI's client repeats where that helps, and what a failure means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repic_cli.evaluation.judging.cache import Reply
from repic_cli.evaluation.judging.endpoint import Endpoint
from repic_plugins.errors import ModelError, OptionError
from repic_plugins.text import clean

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI

_LONGEST = 20_000
"""Characters of a reply that are kept."""


@dataclass(frozen=True)
class Settings:
    """How the judge is asked. `temperature` None: the endpoint's own."""

    max_tokens: int = 1000
    temperature: float | None = 0.0
    timeout: float = 120.0
    retries: int = 5


class FailedRequest(Exception):
    """A request to which no reply came, for good in this run."""


class BrokenReply(Exception):
    """What came is not what the protocol says."""


class Asker:
    """Sends requests; use it in an `async with` statement. `retries` counts those repeated for a reply that came."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint, self.settings = endpoint, settings
        self.sent = self.retries = 0

    async def __aenter__(self) -> Asker:
        self._client: AsyncOpenAI = self.endpoint.client(self.settings.timeout, self.settings.retries)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def parameters(self) -> dict[str, Any]:
        """What is sent beside the messages, on all of which the reply depends."""
        found: dict[str, Any] = {"model": self.endpoint.model, self.endpoint.limit_name: self.settings.max_tokens}
        if self.settings.temperature is not None:
            found["temperature"] = self.settings.temperature
        return found

    async def ask(self, messages: list[dict[str, Any]]) -> Reply:
        """The reply. Raises `FailedRequest`; and `OptionError` or `ModelError` where no other request can succeed."""
        from openai import APIError, OpenAIError

        self.sent += 1
        for attempt in range(self.settings.retries + 1):
            try:
                return await self._once(messages)
            except BrokenReply as error:  # a proxy's page with status 200: the client takes it for an answer
                if attempt == self.settings.retries:
                    raise FailedRequest(str(error)) from None
                self.retries += 1
                await asyncio.sleep(min(8.0, 0.5 * 2**attempt))
            except APIError as error:
                raise self._explained(error) from None
            except OpenAIError as error:
                raise FailedRequest(self._clean(error)) from None
        raise AssertionError("unreachable")

    async def _once(self, messages: list[dict[str, Any]]) -> Reply:
        raw: Any = await self._client.chat.completions.with_raw_response.create(
            messages=messages,  # type: ignore[arg-type]
            **self.parameters(),
        )
        self.retries += raw.retries_taken
        try:
            return self._reply(raw.parse())
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise BrokenReply(f"the reply is no chat completion ({self._clean(raw.text)[:80]})") from error

    def _reply(self, completion: Any) -> Reply:
        """The parts of a completion, which the client has not checked. Raises AttributeError, TypeError ..."""
        choice = completion.choices[0]
        message, usage = choice.message, getattr(completion, "usage", None)
        text = message.content or ""
        if isinstance(text, list):  # some servers send parts
            text = "".join(part["text"] for part in text if part.get("type") == "text")
        if not isinstance(text, str):
            raise TypeError("the content is no text")
        return Reply(
            # Half a character (JSON can hold one) is no text that a file could take.
            self.endpoint.hide(text)[:_LONGEST].encode("utf-8", "replace").decode(),
            self._clean(getattr(message, "refusal", None) or ""),
            self._clean(choice.finish_reason or ""),
            _count(getattr(usage, "prompt_tokens", None)),
            _count(getattr(usage, "completion_tokens", None)),
            self._clean(getattr(completion, "model", None) or ""),
        )

    def _explained(self, error: APIError) -> Exception:
        """What an error that is left after all retries means for the run."""
        status, reason = getattr(error, "status_code", 0), self._reason(error)
        what = f"{self.endpoint.base_url}: {reason}"
        if status == 401:
            if not self.endpoint.variable:
                return OptionError(f"{what}; the judge wants a key: name its environment variable with --key-variable")
            return OptionError(f"{what}; check the key in {self.endpoint.variable}")
        if status == 402 or error.code == "insufficient_quota":
            return ModelError(f"{what}; the account has no credit left")
        if status == 404:
            return ModelError(f"{what}; check the address and the model {self.endpoint.model}")
        if error.param == "temperature":
            return OptionError(f"{what}; --default-temperature leaves it to the judge")
        return FailedRequest(reason)

    def _reason(self, error: APIError) -> str:
        """The error, with the server's words where these are not in OpenAI's form and the client leaves them out."""
        text, response = str(error), getattr(error, "response", None)
        return self._clean(text if response is None or " - " in text else f"{text} - {response.text}")

    def _clean(self, what: object) -> str:
        return clean(self.endpoint.hide(str(what)), 300)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 1 << 40 else None
