"""Rules of turns: whoever brings little never waits for the many pieces of another."""

import asyncio

import pytest

from serve_app.shared.turns import Turns


class Log:
    """Work of tenants that ends when it is told to, in the order in which it got its turn."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self.order = turns, list[str]()
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def bring(self, *names: str) -> None:
        """Bring pieces of work; the first letter is the tenant's."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._work(name))
        await self.rest()

    async def _work(self, name: str) -> None:
        async with self._turns.turn(ord(name[0])):
            self.order.append(name)
            await self.ends[name].wait()

    async def end(self, *names: str) -> None:
        """Let pieces end, one after another."""
        for name in names:
            self.ends[name].set()
            await self.rest()

    async def rest(self) -> None:
        """Let all go on that can."""
        for _ in range(10):
            await asyncio.sleep(0)


async def test_tenants_take_turns() -> None:
    """However many pieces one has brought before, the others come after the next one, each in its turn."""
    log = Log(Turns(1, 1))
    await log.bring("a1", "a2", "a3", "a4", "b1", "b2", "c1")
    await log.end("a1", "a2", "b1", "c1", "a3", "b2", "a4")
    assert log.order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_a_tenant_never_has_all_places() -> None:
    """One stays free for whoever comes next; two of different tenants fill both."""
    log = Log(Turns(2, 1))
    await log.bring("a1", "a2")
    assert log.order == ["a1"]
    await log.bring("b1", "c1")
    assert log.order == ["a1", "b1"]
    await log.end("b1")
    assert log.order == ["a1", "b1", "c1"]
    await log.end("a1")
    assert log.order == ["a1", "b1", "c1", "a2"]


@pytest.mark.parametrize("waiting", ["a1", "b1"])
async def test_whoever_leaves_takes_no_place_along(waiting: str) -> None:
    """Cancelled while it works or while it waits, it is forgotten, and the next one has its turn."""
    log = Log(Turns(1, 1))
    await log.bring("a1", "b1", "c1")
    log.tasks[waiting].cancel()
    await log.rest()
    await log.end(*({"a1", "b1"} - {waiting}))
    assert log.order[-1] == "c1"
    await log.end("c1")
    await log.bring("d1")
    assert log.order[-1] == "d1"


async def test_a_turn_that_was_given_and_is_not_wanted_goes_on() -> None:
    """Cancelled in the moment in which its turn comes, it hands it to the next one."""
    log = Log(Turns(1, 1))
    await log.bring("a1", "b1", "c1")
    log.ends["a1"].set()
    await asyncio.sleep(0)  # its place is free, and has been given
    log.tasks["b1"].cancel()
    await log.rest()
    assert log.order == ["a1", "c1"]
