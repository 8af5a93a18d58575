"""What is asked of the store about counts of requests and of log-in attempts."""

from collections.abc import Mapping
from typing import Protocol

# Whose requests, and in which period since the epoch.
Counted = tuple[str, int]


class Ledger(Protocol):
    """Where replicas add up what each has counted."""

    async def settle(self, counts: Mapping[Counted, int]) -> Mapping[Counted, int]:
        """Add what one replica has counted; return what all have, also of those where it adds nothing."""
        ...

    async def forget(self, period: int) -> None:
        """Forget all periods before this one."""
        ...


class RateStore(Ledger, Protocol):
    """The same in the database, and moments of log-in attempts."""

    async def take(self, name: str, limit: int, seconds: float, amount: int = 1) -> bool:
        """Count attempts unless there would be more than so many in the seconds up to now; tell whether it did."""
        ...

    async def window(self, name: str, seconds: float) -> tuple[float, int]:
        """Return when the oldest attempt of those seconds was, now where there is none, and how many there are."""
        ...

    async def clear(self, name: str) -> None:
        """Forget attempts."""
        ...
