"""What watching asks of the store, beside what routes ask: how far readings are judged, and what happened."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from serve_app.store.records import Event, Happened, Watch


class WatchStore(Protocol):
    """How far readings are judged."""

    async def get(self, tenant_id: int, system_id: int) -> Watch | None:
        """Return how far those of a system are."""
        ...

    async def take(self, tenant_id: int, system_id: int, until: datetime) -> None:
        """Say that readings up to a moment are read from now on."""
        ...

    async def judged(self, tenant_id: int, system_id: int, until: datetime, due: datetime) -> None:
        """Say that windows up to a moment are judged, and when the next one is whole."""
        ...

    async def judged_again(self, tenant_id: int, system_id: int, late: Watch, until: datetime) -> None:
        """Say that late windows up to a moment were judged again."""
        ...

    async def again(self, tenant_id: int, system_id: int) -> None:
        """Ask for the system to be looked at once more."""
        ...


class EventStore(Protocol):
    """What happened to systems."""

    async def page(self, tenant_id: int, system_id: int, after: int = 0, limit: int = 100) -> Sequence[Event]:
        """Return what was found out after an event, the earliest first."""
        ...

    async def newest(self, tenant_id: int, system_id: int, limit: int) -> Sequence[Event]:
        """Return what was found out last, the earliest of it first."""
        ...

    async def add(self, tenant_id: int, happened: Iterable[Happened]) -> None:
        """Keep what happened."""
        ...
