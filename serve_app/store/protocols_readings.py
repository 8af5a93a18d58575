"""What is asked of the store about readings: what machines sent, jobs of it, how far it is judged, what happened."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from serve_app.store.records import COMMAND_LINE, Quarantined, Reading, Series, Stored, Suspect
from serve_app.store.records_jobs import Job, Ordered
from serve_app.store.records_watching import Event, Happened, Watch


class ReadingStore(Protocol):
    """What machines sent."""

    async def add(
        self,
        tenant_id: int,
        system_id: int,
        rows: Sequence[Reading],
        suspects: Sequence[Suspect] = (),
        actor: str = COMMAND_LINE,
    ) -> Stored:
        """Keep readings, each once, and set aside what is none."""
        ...

    async def span(
        self,
        tenant_id: int,
        system_id: int,
        begin: datetime,
        end: datetime,
        points: int,
        channels: Sequence[str] | None = None,
        archived: bool = False,
    ) -> Sequence[Series]:
        """Return each channel's readings from `begin` to before `end`, in the order of names, without losing a peak.

        Those of days that were archived, and are gone from the tables, are read where `archived` asks for them.
        """
        ...

    async def newest(self, tenant_id: int, system_id: int, channels: Sequence[str], until: datetime) -> datetime | None:
        """Return the moment of a system's newest reading of some channels up to a moment, to the minute at worst."""
        ...

    async def set_aside(self, tenant_id: int, system_id: int, numbers: Sequence[int]) -> Sequence[Quarantined]:
        """Return what was set aside under some numbers, and waits for a decision."""
        ...

    async def settle(
        self,
        tenant_id: int,
        system_id: int,
        accepted: Mapping[int, Reading],
        dismissed: Sequence[int] = (),
        actor: str = COMMAND_LINE,
    ) -> None:
        """Decide on what was set aside: what is a reading from now on, and what is none."""
        ...

    async def quarantined(
        self, tenant_id: int, system_id: int, after: int = 0, limit: int = 100
    ) -> Sequence[Quarantined]:
        """Return a page of what was set aside, in the order in which it came."""
        ...


class JobStore(Protocol):
    """Work that takes longer than a request, as routes ask for it and follow it."""

    async def check_room(self, tenant_id: int, most: int) -> None:
        """Check that one more job may wait."""
        ...

    async def keep_file(self, tenant_id: int, job_id: UUID, number: int, content: bytes, most: int) -> None:
        """Keep a part of the file of a job that will be asked for."""
        ...

    async def discard(self, tenant_id: int, job_id: UUID) -> None:
        """Forget what was kept for a job that is not asked for after all."""
        ...

    async def add(self, tenant_id: int, order: Ordered, most: int, actor: str = COMMAND_LINE) -> Job:
        """Ask for a job whose file is kept."""
        ...

    async def page(self, tenant_id: int, before: int | None = None, limit: int = 100) -> Sequence[Job]:
        """Return those asked for before a number, the newest first."""
        ...

    async def get(self, tenant_id: int, job_id: UUID) -> Job:
        """Return one."""
        ...

    async def cancel(self, tenant_id: int, job_id: UUID, actor: str = COMMAND_LINE) -> Job:
        """End a job; one that has ended stays as it is."""
        ...


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

    async def take_late(self, tenant_id: int, system_id: int) -> Watch:
        """Say that what came late is read from now on, and return what is to be judged again."""
        ...

    async def tell_late(self, tenant_id: int, happened: Happened) -> None:
        """Keep that windows are judged again, unless it is kept of these."""
        ...

    async def judged_again(self, tenant_id: int, system_id: int, until: datetime | None) -> None:
        """Say that windows up to a moment were judged again; None for all of them."""
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
