"""Rules of the gateway's micro-batch."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from pipelines.errors import Unavailable
from serve_app.shared.batching import MicroBatch

pytestmark = pytest.mark.timeout(4, func_only=True)  # what hangs is a fault, and found soon


class Line:
    """Doubles numbers, refuses 13, and remembers the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def run(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await self.open.wait()
        return [ValueError(item) if item == 13 else 2 * item for item in items]


async def test_an_idle_line_does_not_wait() -> None:
    """A single item leaves at once, alone."""
    line = Line()
    assert await MicroBatch(line.run, 8).submit(21) == 42
    assert line.batches == [[21]]


async def test_items_gather_while_a_batch_is_in_flight() -> None:
    """All that arrive during a flight leave together, none over the limit, each with its own result."""
    line = Line()
    line.open.clear()
    batch: MicroBatch[int, int] = MicroBatch(line.run, 3)
    tasks = [batch.submit(item) for item in range(6)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    line.open.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
    assert max(map(len, line.batches)) <= 3
    assert len(line.batches) == 2


async def test_an_error_belongs_to_its_own_item() -> None:
    """An error in one place fails that item only."""
    batch: MicroBatch[int, int] = MicroBatch(Line().run, 8)
    results = await asyncio.gather(*map(batch.submit, (1, 13, 2)), return_exceptions=True)
    assert results[0] == 2
    assert isinstance(results[1], ValueError)
    assert results[2] == 4


async def test_a_failed_batch_fails_its_items_and_not_the_next() -> None:
    """When the whole batch fails each item gets that error, and the line goes on."""

    async def broken(items: Sequence[int]) -> list[int | Exception]:
        if 0 in items:
            raise OSError("down")
        return list(items)

    batch: MicroBatch[int, int] = MicroBatch(broken, 8)
    with pytest.raises(OSError, match="down"):
        await batch.submit(0)
    assert await batch.submit(5) == 5


async def test_a_caller_who_left_costs_nothing() -> None:
    """An item whose caller was cancelled before the batch left is not sent."""
    line = Line()
    line.open.clear()
    batch: MicroBatch[int, int] = MicroBatch(line.run, 8)
    first = batch.submit(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone, kept = batch.submit(2), batch.submit(3)
    await asyncio.sleep(0)
    gone.cancel()
    line.open.set()
    assert await first == 2
    assert await kept == 6
    assert line.batches == [[1], [3]]


async def test_who_leaves_in_flight_takes_nobody_along() -> None:
    """A caller who is cancelled while its batch is under way spoils neither its neighbours nor the next batch."""
    line = Line()
    line.open.clear()
    batch: MicroBatch[int, int] = MicroBatch(line.run, 8)
    batch.submit(1)
    gone, kept = batch.submit(2), batch.submit(3)
    await asyncio.sleep(0)
    assert line.batches == [[1, 2, 3]]
    gone.cancel()
    later = batch.submit(4)
    line.open.set()
    assert [await asyncio.wait_for(each, 1) for each in (kept, later)] == [6, 8]


async def short(items: Sequence[int]) -> list[int | Exception]:
    return [2 * item for item in items[1:]] if 0 in items else [2 * item for item in items]


async def cancelled(items: Sequence[int]) -> list[int | Exception]:
    if 0 in items:
        raise asyncio.CancelledError
    return [2 * item for item in items]


@pytest.mark.parametrize("run", [short, cancelled])
async def test_every_item_is_settled_whatever_a_run_does(
    run: Callable[[Sequence[int]], Awaitable[list[int | Exception]]],
) -> None:
    """Results that are too few, or work that is cancelled elsewhere, are our error for each, and the line goes on."""
    batch: MicroBatch[int, int] = MicroBatch(run, 2)
    found = [batch.submit(item) for item in (0, 1, 2, 3)]
    results = await asyncio.wait_for(asyncio.gather(*found, return_exceptions=True), 1)
    assert [isinstance(result, Unavailable) for result in results[:2]] == [True, True]
    assert results[2:] == [4, 6]
    assert await asyncio.wait_for(batch.submit(5), 1) == 10


@pytest.mark.parametrize("ticks", [0, 1])
async def test_a_flight_that_is_cancelled_leaves_nobody_behind(ticks: int) -> None:
    """Those on board get our error, those who wait leave with the next, and no place is lost; also before it left."""
    line = Line()
    line.open.clear()
    batch: MicroBatch[int, int] = MicroBatch(line.run, 2)
    on_board = [batch.submit(1), batch.submit(2)]
    waiting = batch.submit(3)
    for _ in range(ticks):
        await asyncio.sleep(0)
    for task in list(batch._tasks):
        task.cancel()
    await asyncio.sleep(0)
    line.open.set()
    results = await asyncio.wait_for(asyncio.gather(*on_board, waiting, return_exceptions=True), 1)
    assert results[2] == 6
    assert results[:2] == [2, 4] if not ticks else all(isinstance(result, Unavailable) for result in results[:2])
    assert await asyncio.wait_for(batch.submit(4), 1) == 8


async def test_a_second_batch_leaves_beside_the_first_only_when_full() -> None:
    """Two are in flight when the second is full; what is not full waits, and nothing is left behind."""
    line = Line()
    line.open.clear()
    batch: MicroBatch[int, int] = MicroBatch(line.run, 3)
    results = [batch.submit(item) for item in range(2)]
    await asyncio.sleep(0)
    results += [batch.submit(item) for item in range(2, 4)]
    await asyncio.sleep(0)
    assert line.batches == [[0, 1]]
    results += [batch.submit(item) for item in range(4, 9)]
    await asyncio.sleep(0)
    assert line.batches == [[0, 1], [2, 3, 4]]
    line.open.set()
    assert await asyncio.gather(*results) == [2 * item for item in range(9)]
    assert line.batches[2:] == [[5, 6, 7], [8]]


async def test_a_batch_of_just_the_limit_is_full() -> None:
    """As many as the limit leave beside the first batch, without waiting for one more."""
    line = Line()
    line.open.clear()
    batch: MicroBatch[int, int] = MicroBatch(line.run, 2)
    first = batch.submit(0)
    await asyncio.sleep(0)
    rest = [batch.submit(item) for item in (1, 2)]
    await asyncio.sleep(0)
    assert line.batches == [[0], [1, 2]]
    line.open.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4]
