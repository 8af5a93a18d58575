"""Micro-batches by tenant: none waits for another, and the idle are not kept for ever."""

import asyncio
from collections.abc import Sequence

import pytest

from serve_app.shared.tenant_batches import KEPT_MAX, TenantBatches

pytestmark = pytest.mark.timeout(4, func_only=True)  # what hangs is a fault, and found soon


async def test_a_tenant_waits_for_no_other() -> None:
    """While one tenant's batch is stuck another's is answered."""
    stuck = asyncio.Event()

    async def run(tenant_id: int, items: Sequence[int]) -> Sequence[int]:
        if tenant_id == 1:
            await stuck.wait()
        return [item * 10 for item in items]

    batches = TenantBatches(run, 8)
    first = batches.submit(1, 1)
    assert await batches.submit(2, 2) == 20
    stuck.set()
    assert await first == 10


async def test_idle_tenants_are_let_go() -> None:
    """However many tenants have come, the kept ones are bounded; one in flight is never among the dropped."""
    stuck, asked = asyncio.Event(), list[Sequence[int]]()

    async def run(tenant_id: int, items: Sequence[int]) -> Sequence[int]:
        if tenant_id == 0:
            asked.append(items)
            await stuck.wait()
        return items

    batches = TenantBatches(run, 8)
    first = batches.submit(0, 0)
    for tenant in range(1, 2 * KEPT_MAX + 2):
        await batches.submit(tenant, tenant)
        assert len(batches) <= KEPT_MAX
    second = batches.submit(0, 1)
    await asyncio.sleep(0)
    assert asked == [[0]]
    assert not second.done()  # type: ignore[attr-defined]  # it waits in the batch of the first, which is in flight
    stuck.set()
    assert [await first, await second] == [0, 1]
