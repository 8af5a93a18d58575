"""Stored windows of all tenants, for what concerns the models and no tenant: trying a version, watching drift."""

from datetime import datetime

from sqlalchemy import select

from pipelines.promotion.backtest import StoredWindow
from serve_app.store.database import Database
from serve_app.store.records import Seen
from serve_app.store.tables import diagnoses


class Promotions:
    """What was answered to all tenants; each query runs under a setting that says so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recent(self, family: str, limit: int) -> list[StoredWindow]:
        """Return the newest windows of a family, of all tenants."""
        query = (
            select(diagnoses.c.window, diagnoses.c.baseline)
            .where(diagnoses.c.family == family)
            .order_by(diagnoses.c.created_at.desc())
            .limit(limit)
        )
        async with self._database.transaction("hdx.learning", "all", long=True) as connection:
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
        async with self._database.transaction("hdx.learning", "all", long=True) as connection:
            return [Seen(*tuple(row)) for row in await connection.execute(query)]
