"""Between promoter and PostgreSQL: stored windows of all tenants to try a version on, and what became of it.

Exists so that the few queries that reach past one tenant stand together, each under a setting that says so.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import insert, select

from pipelines.promotion.backtest import StoredWindow
from serve_app.store.documents import Documents
from serve_app.store.records import Seen
from serve_app.store.tables import audit, diagnoses


class Promotions(Documents):
    """What concerns the models and no tenant."""

    async def recent(self, family: str, limit: int) -> list[StoredWindow]:
        """Return the newest windows of a family, of all tenants."""
        query = (
            select(diagnoses.c.window, diagnoses.c.baseline)
            .where(diagnoses.c.family == family)
            .order_by(diagnoses.c.created_at.desc())
            .limit(limit)
        )
        async with self._transaction("hdx.learning", "all") as connection:
            rows = list(await connection.execute(query))
        return [StoredWindow(row.window, row.baseline, None) for row in rows]

    async def seen_since(self, after: datetime, limit: int) -> list[Seen]:
        """Return what was answered after a moment, to all tenants, in the order of time."""
        score = diagnoses.c.answer["prediction"]["anomaly_score"].as_float()
        columns = (diagnoses.c[name] for name in ("tenant_id", "system_id", "family", "window", "baseline"))
        query = (
            select(*columns, score, diagnoses.c.created_at)
            .where(diagnoses.c.created_at > after)
            .order_by(diagnoses.c.created_at)
            .limit(limit)
        )
        async with self._transaction("hdx.learning", "all") as connection:
            return [Seen(*tuple(row)) for row in await connection.execute(query)]

    async def note_platform(self, actor: str, action: str, subject: str, detail: str) -> None:
        """Note who did what to a model."""
        row = {"tenant_id": None, "actor": actor, "action": action, "subject": subject, "detail": detail}
        async with self._transaction("hdx.platform", "on") as connection:
            await connection.execute(insert(audit).values(row))

    async def platform_log(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest notes about models first."""
        query = select(audit).where(audit.c.tenant_id.is_(None)).order_by(audit.c.audit_id.desc()).limit(limit)
        async with self._transaction("hdx.platform", "on") as connection:
            return [dict(row._mapping) for row in await connection.execute(query)]
