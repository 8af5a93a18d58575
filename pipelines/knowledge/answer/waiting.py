"""Time limits on streams that are read while they are written."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TypeVar

Item = TypeVar("Item")


async def within(stream: AsyncIterator[Item], timeout_s: float) -> AsyncIterator[Item]:
    """Yield what a stream brings, while all waiting for it takes `timeout_s` at most; the reader's own time is free.

    Source: PEP 789: a limit that spans a `yield` cancels whoever reads.

    Raises:
        TimeoutError: The stream was waited for that long.
    """
    left = timeout_s
    while True:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(left):
                item = await anext(stream)
        except StopAsyncIteration:
            return
        left -= time.monotonic() - begun
        yield item
