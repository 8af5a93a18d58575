"""Micro-batches by tenant, so that what holds up one tenant holds up no other."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from serve_app.shared.batching import MicroBatch

Item = TypeVar("Item")
Result = TypeVar("Result")
# Source: own choice; idle ones are a few hundred bytes each, so a few hundred kilobytes.
KEPT_MAX = 1000


class TenantBatches(Generic[Item, Result]):
    """A micro-batch for each tenant that has work; of the idle ones no more than `KEPT_MAX` are kept."""

    def __init__(
        self, run: Callable[[int, Sequence[Item]], Awaitable[Sequence[Result | Exception]]], limit: int
    ) -> None:
        self._run, self._limit = run, limit
        self._batches: dict[int, MicroBatch[Item, Result]] = {}

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._batches)

    def submit(self, tenant_id: int, item: Item) -> Awaitable[Result]:
        """Return what will hold the result of an item in its tenant's next batch."""
        if tenant_id not in self._batches:
            if len(self._batches) >= KEPT_MAX:
                self._batches = {tenant: batch for tenant, batch in self._batches.items() if not batch.idle}
            self._batches[tenant_id] = MicroBatch(partial(self._run, tenant_id), self._limit)
        return self._batches[tenant_id].submit(item)
