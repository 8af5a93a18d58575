"""Gathers what waits for one and the same hop, so that it costs once a batch and not once a request.

The gateway's windows and the store's reads and writes pass through it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from pipelines.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")
# Source: measured on two cores, 64 windows a request; a third one added nothing.
FLIGHTS_MAX = 2


class MicroBatch(Generic[Item, Result]):
    """One batch in flight; the next collects meanwhile, so an idle service never waits.

    A second one leaves beside it only when it is full: the steps below then work on both, and none is smaller for it.

    Attributes:
        limit: Most items in a batch.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]], limit: int) -> None:
        self.limit = limit
        self._run = run
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._flights = 0
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds them weakly

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Return what will hold the result at the item's own place, or the exception that stands there."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if not self._flights or (self._flights < FLIGHTS_MAX and self._is_full()):
            self._depart()
        return future

    def _depart(self) -> None:
        self._flights += 1
        task = asyncio.create_task(self._fly())
        self._tasks.add(task)
        task.add_done_callback(self._land)

    def _land(self, task: asyncio.Task[None]) -> None:
        """Give back the flight's place, however it ended; what waited for it goes on."""
        self._tasks.discard(task)
        self._flights -= 1
        if self._waiting and not self._flights:
            self._depart()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self._waiting and not self._flights

    def _is_full(self) -> bool:
        return len(self._waiting) >= self.limit

    async def _fly(self) -> None:
        # The last one in the air takes all that comes; another one lands when no batch is full.
        while self._waiting and (self._flights == 1 or self._is_full()):
            batch, self._waiting = self._waiting[: self.limit], self._waiting[self.limit :]
            wanted = [(item, future) for item, future in batch if not future.done()]
            if wanted:
                await self._settle(wanted)

    async def _settle(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        results: Sequence[Result | Exception] = [Unavailable("micro-batch", "was cancelled")] * len(batch)
        try:
            found = await self._run([item for item, _ in batch])
            if len(found) != len(batch):
                raise Unavailable("micro-batch", f"{len(found)} results for {len(batch)} items")
            results = found
        except Exception as error:
            results = [error] * len(batch)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # this flight itself, and not what it waited for
        finally:
            self._hand_out(batch, results)

    @staticmethod
    def _hand_out(batch: Sequence[tuple[Item, asyncio.Future[Result]]], results: Sequence[Result | Exception]) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():  # its caller left meanwhile
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
