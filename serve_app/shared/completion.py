"""Work that goes on to its end though whoever asked for it leaves."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def completed(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what comes of work; whoever is told to leave meanwhile does so once it has ended.

    The place of a request is held until then, so that nobody gets more done by leaving. The work bounds its own time.
    """
    task = asyncio.ensure_future(work)
    left: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            left = error
    if left is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # nobody waits for what it was
    raise left
