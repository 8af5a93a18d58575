"""Rules of calls between deployments: a replica that is stopped is told from a caller that is."""

import asyncio

import pytest

from deployments.runtime.cancellation import replica_may_stop
from pipelines.errors import Unavailable
from serve_app.replicas.graph_ports import reach


async def stopped() -> None:
    """Answer as Ray does for a replica that is being stopped."""
    raise asyncio.CancelledError


async def test_a_stopped_replica_is_a_part_that_is_away() -> None:
    """The caller gets the error that a route turns into 503, and not one that nothing catches."""
    with pytest.raises(Unavailable):
        await reach("generator", stopped(), 5)


async def test_a_caller_that_is_cancelled_stays_so() -> None:
    """Whoever leaves ends the work behind, and nothing mistakes that for a lost replica."""

    async def call() -> None:
        with replica_may_stop():
            await asyncio.sleep(60)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_limit_around_a_call_holds() -> None:
    """The limit cancels the call from this side: that is a time-out still."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            with replica_may_stop():
                await asyncio.sleep(60)
