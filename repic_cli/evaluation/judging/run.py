"""Judging the pairs: each in both orders, what was paid for before from the cache, the rest from the judge."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from repic_cli.concepts.formats.places import Places
from repic_cli.evaluation.judging.asking import Asker, FailedRequest, Settings
from repic_cli.evaluation.judging.cache import Reply, ReplyCache, key_of
from repic_cli.evaluation.judging.endpoint import Endpoint
from repic_cli.evaluation.judging.estimating import Estimate, estimated, guessed_tokens
from repic_cli.evaluation.judging.messages import Question
from repic_cli.evaluation.judging.pairing import Pair
from repic_cli.evaluation.judging.parsing import read_reply
from repic_cli.evaluation.judging.pictures import JudgePicture
from repic_cli.evaluation.judging.verdicts import Judged, Outcome
from repic_plugins.errors import DataError, ModelError

_GRACE = 5.0
"""Seconds in which requests that are under way may still be answered (and so kept) when a run is stopped."""
_GIVE_UP = 10
"""Failures one after another, besides those under way, after which no further request is sent."""


@dataclass(frozen=True)
class Request:
    """One order of a pair. `key` tells it apart from all others; `guess` are its tokens."""

    question: Question
    picture: JudgePicture | None
    key: str
    guess: int


@dataclass(frozen=True)
class Work:
    """A pair and its requests: A first, then B first; none when both captions are the same."""

    pair: Pair
    question: Question
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Answer:
    """What came of a request. `paid`: in this run. `error`: why there is no reply."""

    outcome: Outcome
    reply: Reply | None
    paid: bool = False
    error: str = ""


@dataclass(frozen=True)
class Result:
    """What came of a pair; `answers` as `Work.requests`."""

    work: Work
    answers: tuple[Answer, ...]

    @property
    def judged(self) -> Judged:
        """For counting."""
        same = not self.answers
        ab, ba = ("tie", "tie") if same else (self.answers[0].outcome, self.answers[1].outcome)
        question = self.work.question
        return Judged(ab, ba, len(question.first), len(question.second), same)  # type: ignore[arg-type]


@dataclass
class Judging:
    """One run. `max_side` None: the judge sees no pictures.

    A picture that cannot be used raises `DataError`, with file and row; with `skip_bad` its pair is told in `skipped`.
    """

    endpoint: Endpoint
    settings: Settings
    cache: ReplyCache
    max_side: int | None
    skip_bad: bool = False
    skipped: list[str] = field(default_factory=list)
    sent: int = 0
    retries: int = 0
    kept: int = 0
    """Replies of this run that the cache has taken."""

    def __post_init__(self) -> None:
        self._in_a_row = 0
        self._stopping = False
        self._asking: dict[str, asyncio.Lock] = {}

    def prepare(self, pairs: Sequence[Pair], places: Places | None) -> list[Work]:
        """The requests of each pair; sends nothing."""
        found = []
        for pair in pairs:
            with self._skipping(pair):
                found.append(self._work(pair, places))
        if not found:
            raise DataError(f"no pair is left to be judged ({self.skipped[0]})")
        return found

    def estimate(self, works: Sequence[Work]) -> Estimate:
        """What is still to be asked, and what that will take."""
        requests = {request.key: request for work in works for request in work.requests}
        known = {key: reply for key in requests if (reply := self.cache.get(key)) is not None}
        guesses = [request.guess for key, request in requests.items() if key not in known]
        return estimated(guesses, list(known.values()), self.settings.max_tokens)

    def run(
        self, works: Sequence[Work], concurrency: int = 4, tell: Callable[[int], None] = lambda done: None
    ) -> list[Result]:
        """Judge all pairs, in order; `tell` gets the number of pairs that are done.

        Raises what `Asker.ask` raises when no request can succeed. All replies until then are in the cache.
        """
        return asyncio.run(self._run(works, concurrency, tell))

    async def _run(self, works: Sequence[Work], concurrency: int, tell: Callable[[int], None]) -> list[Result]:
        results: dict[int, Result] = {}
        waiting, done = iter(enumerate(works)), itertools.count(1)

        async def judge_on() -> None:
            for number, work in waiting:
                if self._stopping:
                    return
                with self._skipping(work.pair):
                    results[number] = await self._judge(asker, work, limit=concurrency + _GIVE_UP)
                tell(next(done))

        async with Asker(self.endpoint, self.settings) as asker:
            tasks = [asyncio.create_task(judge_on()) for _ in range(min(concurrency, len(works)))]
            try:
                await asyncio.gather(*(asyncio.shield(task) for task in tasks))
            finally:
                self._stopping = True
                _, late = await asyncio.wait(tasks, timeout=_GRACE)
                for task in late:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self.sent, self.retries = asker.sent, asker.retries
        return [results[number] for number in sorted(results)]

    @contextmanager
    def _skipping(self, pair: Pair) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            message = f"row {pair.a.number}: {error}"
            if not self.skip_bad:
                hint = "--pictures says where they lie, --skip-bad leaves such pairs out, --no-pictures shows none"
                raise DataError(f"{message}; {hint}") from error
            self.skipped.append(message)

    def _work(self, pair: Pair, places: Places | None) -> Work:
        question = Question.of(pair.names, pair.a.caption, pair.b.caption)
        if question.first == question.second:
            return Work(pair, question, ())
        picture = None
        if self.max_side is not None and places is not None:
            picture = JudgePicture(places.find(pair.a.image).path, self.max_side)
        both = (question, question.swapped())
        return Work(pair, question, tuple(self._request(one, picture) for one in both))

    def _request(self, question: Question, picture: JudgePicture | None) -> Request:
        messages = question.messages(picture.mark if picture else None)
        parameters = Asker(self.endpoint, self.settings).parameters()
        key = key_of({"address": self.endpoint.base_url, "parameters": parameters, "messages": messages})
        return Request(question, picture, key, guessed_tokens(messages, picture.size if picture else None))

    async def _judge(self, asker: Asker, work: Work, limit: int) -> Result:
        """Both orders, one after the other, so that the picture is made ready once."""
        address: list[str] = []
        answers = []
        for request in work.requests:
            if self._stopping:
                raise asyncio.CancelledError
            answers.append(await self._answer(asker, request, address, limit))
        return Result(work, tuple(answers))

    async def _answer(self, asker: Asker, request: Request, address: list[str], limit: int) -> Answer:
        """From the cache, or from the judge; the same request is never under way twice."""
        async with self._asking.setdefault(request.key, asyncio.Lock()):
            reply = self.cache.get(request.key)
            if reply is not None:
                return Answer(read_reply(reply.text, reply.refusal, reply.finish), reply)
            if request.picture is not None and not address:
                address.append(await asyncio.to_thread(request.picture.address))
            try:
                reply = await asker.ask(request.question.messages(address[0] if address else None))
            except FailedRequest as error:
                self._in_a_row += 1
                if self._in_a_row >= limit:
                    raise ModelError(
                        f"{self.endpoint.base_url}: {limit} requests failed one after another, the last with: {error}"
                    ) from None
                return Answer("failed", None, error=str(error))
            self._in_a_row = 0
            self.cache.put(request.key, reply)
            self.kept += 1
            return Answer(read_reply(reply.text, reply.refusal, reply.finish), reply, paid=True)


def tokens(results: Sequence[Result], paid: bool) -> tuple[int, int, int]:
    """Tokens in and out of the replies that were paid in this run, or of the others; and how many tell none."""
    replies = [a.reply for r in results for a in r.answers if a.reply is not None and a.paid == paid]
    unknown = sum(reply.tokens_in is None or reply.tokens_out is None for reply in replies)
    return sum(r.tokens_in or 0 for r in replies), sum(r.tokens_out or 0 for r in replies), unknown


def line_of(result: Result) -> dict[str, Any]:
    """The line of a pair in the results file."""
    judged, pair = result.judged, result.work.pair
    names = ("a_first", "b_first")
    return {
        "image": pair.a.image,
        "keys": list(pair.a.keys),
        "row_a": pair.a.number,
        "row_b": pair.b.number,
        "caption_a": pair.a.caption,
        "caption_b": pair.b.caption,
        "verdict": judged.verdict,
        "order_dependent": judged.order_dependent,
        "same": judged.same,
        **{name: _answer_of(answer) for name, answer in zip(names, result.answers, strict=False)},
    }


def _answer_of(answer: Answer) -> dict[str, Any]:
    """`choice` is by place (`first`, `second`); the reply is as it came."""
    found: dict[str, Any] = {"choice": answer.outcome}
    if answer.reply is None:
        return {**found, "error": answer.error}
    return {**found, **{name: value for name, value in vars(answer.reply).items() if value not in ("", None)}}
