"""The audit: who did what to whom, for each tenant, and for the models, which are no tenant's."""

from contextlib import AbstractAsyncContextManager

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.store.database import Database
from serve_app.store.idempotency import mark
from serve_app.store.records import Note
from serve_app.store.tables import audit

NOTE = tuple(audit.c[name] for name in Note.__dataclass_fields__)


class Audit:
    """Notes of deeds; a tenant of None stands for the platform, whose notes no tenant sees."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _of(self, tenant_id: int | None) -> AbstractAsyncContextManager[AsyncConnection]:
        if tenant_id is None:
            return self._database.transaction("hdx.platform", "on")
        return self._database.tenant(tenant_id)

    async def note(self, tenant_id: int | None, actor: str, action: str, subject: str, detail: str) -> None:
        """Note who did what to whom."""
        async with self._of(tenant_id) as connection:
            await note(connection, tenant_id, actor, action, subject, detail)

    async def newest(self, tenant_id: int | None, limit: int = 100) -> list[Note]:
        """Return the newest notes first."""
        query = select(*NOTE).where(audit.c.tenant_id == tenant_id).order_by(audit.c.audit_id.desc()).limit(limit)
        async with self._of(tenant_id) as connection:
            return [Note(*row) for row in await connection.execute(query)]


async def note(
    connection: AsyncConnection, tenant_id: int | None, actor: str, action: str, subject: str, detail: str
) -> None:
    """Note a deed in the transaction that does it, and mark the key that its request is repeated by."""
    row = {"tenant_id": tenant_id, "actor": actor, "action": action, "subject": subject, "detail": detail}
    await connection.execute(insert(audit).values(row))
    await mark(connection)
