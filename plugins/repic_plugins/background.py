"""One event loop in a thread of its own, in which async rewards run.

It lives as long as the process, so that a client session that a reward opened for one batch serves the next.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any

_GRACE = 1.0
"""Seconds after the time-out for a task to notice that it was cancelled; a loop that is blocked by then is left."""

_lock = threading.Lock()
_current: tuple[int, asyncio.AbstractEventLoop] | None = None


def _loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; a forked child has no thread behind its parent's and gets its own."""
    global _current
    with _lock:
        if _current is None or _current[0] != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="repic-async-rewards", daemon=True).start()
            _current = (os.getpid(), loop)
        return _current[1]


def _abandon() -> None:
    global _current
    with _lock:
        _current = None


class OutOfTime(Exception):
    """The time-out of ours, as against a TimeoutError that the reward itself raised."""


async def _within(result: Awaitable[Any], timeout: float) -> Any:
    try:
        async with asyncio.timeout(timeout) as limit:
            return await result
    except TimeoutError:
        if limit.expired():
            raise OutOfTime from None
        raise


def start(result: Awaitable[Any], timeout: float) -> Future[Any]:
    """Begin to await `result` in the background, for at most `timeout` seconds."""
    return asyncio.run_coroutine_threadsafe(_within(result, timeout), _loop())


def wait(future: Future[Any], timeout: float) -> Any:
    """The result of `start`; `OutOfTime` when it takes too long, also when the reward blocks the loop."""
    try:
        return future.result(timeout + _GRACE)
    except TimeoutError:
        if future.done():
            raise
        future.cancel()
        _abandon()
        raise OutOfTime from None
