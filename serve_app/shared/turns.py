"""Places that tenants take in turn, so that whoever brings much work holds up nobody who brings little."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from pipelines.errors import Overloaded


class Turns:
    """A number of places: a free one goes to the tenant that has waited longest since its last turn.

    Args:
        places: How many there are.
        each: How many of them one tenant has at most.
    """

    def __init__(self, places: int, each: int) -> None:
        self._free, self._each = places, each
        self._held: Counter[int] = Counter()
        # By tenant, in the order in which they have their turns.
        self._waiting: dict[int, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, tenant_id: int) -> AsyncIterator[None]:
        """Hold a place of a tenant's, once it is its turn."""
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, deque()).append(given)
        self._give()
        try:
            await given
            yield
        finally:
            if given.done() and not given.cancelled():
                self._take_back(tenant_id)
            else:
                self._forget(tenant_id, given)
            self._give()

    async def taken(self, tenant_id: int, seconds: float) -> AsyncExitStack:
        """Wait for a place of a tenant's, which whoever closes what is returned gives back.

        Raises:
            Overloaded: It took longer than so many seconds.
        """
        place = AsyncExitStack()
        try:
            async with asyncio.timeout(seconds):
                await place.enter_async_context(self.turn(tenant_id))
        except TimeoutError:
            raise Overloaded(int(seconds)) from None
        return place

    def _give(self) -> None:
        """Give what is free to whoever is next."""
        while self._free and (found := self._next()):
            tenant_id, given = found
            if given.done():  # cancelled, and not yet out of the queue
                continue
            self._free -= 1
            self._held[tenant_id] += 1
            given.set_result(None)

    def _next(self) -> tuple[int, "asyncio.Future[None]"] | None:
        tenant_id = next((known for known in self._waiting if self._held[known] < self._each), None)
        if tenant_id is None:
            return None
        queue = self._waiting.pop(tenant_id)
        given = queue.popleft()
        if queue:
            self._waiting[tenant_id] = queue  # behind all others
        return tenant_id, given

    def _take_back(self, tenant_id: int) -> None:
        self._free += 1
        self._held[tenant_id] -= 1
        if not self._held[tenant_id]:
            del self._held[tenant_id]

    def _forget(self, tenant_id: int, given: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(tenant_id, deque())
        with suppress(ValueError):
            queue.remove(given)
        if not queue:
            self._waiting.pop(tenant_id, None)
