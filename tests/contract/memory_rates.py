"""The memory store's counts."""

import time
from collections import Counter
from collections.abc import Mapping

from serve_app.store.protocols_rates import Counted


class MemoryRates:
    """Counts of requests and moments of attempts, of one process.

    Attributes:
        failure: Raised by whatever is asked, where there is one.
    """

    def __init__(self) -> None:
        self.counts: Counter[Counted] = Counter()
        self.moments: dict[str, list[float]] = {}
        self.failure: Exception | None = None

    async def settle(self, counts: Mapping[Counted, int]) -> Mapping[Counted, int]:
        if self.failure is not None:
            raise self.failure
        self.counts.update(counts)
        return {key: self.counts[key] for key in counts if self.counts[key]}

    async def forget(self, period: int) -> None:
        self.counts = Counter({key: count for key, count in self.counts.items() if key[1] >= period})

    async def take(self, name: str, limit: int, seconds: float, amount: int = 1) -> bool:
        if self.failure is not None:
            raise self.failure
        now = time.time()
        recent = [at for at in self.moments.get(name, []) if at > now - seconds]
        if len(recent) + amount > limit:
            return False
        self.moments[name] = [*recent, *[now] * amount]
        return True

    async def window(self, name: str, seconds: float) -> tuple[float, int]:
        now = time.time()
        recent = [at for at in self.moments.get(name, []) if at > now - seconds]
        return min(recent, default=now), len(recent)

    async def clear(self, name: str) -> None:
        self.moments.pop(name, None)
