"""What routes and replicas ask of the audit, and of what is signed of it."""

from collections.abc import Sequence
from typing import Protocol

from serve_app.shared.checkpoints import KeptCheckpoint
from serve_app.store.records import Note
from serve_app.store.records_audit import ALL, Wanted


class AuditStore(Protocol):
    """Who did what to whom."""

    async def note(self, tenant_id: int | None, actor: str, action: str, subject: str, detail: str) -> None:
        """Note a deed."""
        ...

    async def newest(self, tenant_id: int | None, limit: int = 100) -> Sequence[Note]:
        """Return the newest notes first."""
        ...

    async def page(
        self, tenant_id: int | None, wanted: Wanted = ALL, before: int | None = None, limit: int = 100
    ) -> Sequence[Note]:
        """Return the notes wanted, the newest first, those before a number where one is given."""
        ...


class SealStore(Protocol):
    """What is signed of deeds."""

    async def newest(self, tenant_id: int | None) -> KeptCheckpoint | None:
        """Return the newest checkpoint; None where there is none."""
        ...
