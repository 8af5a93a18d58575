"""Rules of the gateway's micro-batch."""

import asyncio
from collections.abc import Sequence

import pytest

from serve_app.shared.batching import MicroBatch


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
