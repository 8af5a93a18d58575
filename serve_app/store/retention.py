"""What has outlived the days of the settings is deleted, of all tenants, a bounded number of rows at a time.

Days of readings are archived before. Notes of the audit go by another way: what is left of a tree is signed.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, delete, exists, func, select, text
from sqlalchemy.sql.elements import ColumnElement

from configs.settings import Retention as Days
from serve_app.shared import logs
from serve_app.store.archive import Archive
from serve_app.store.database import Database
from serve_app.store.idempotency import KEPT
from serve_app.store.tables import (
    answers,
    diagnoses,
    events,
    feedback,
    idempotency_keys,
    jobs,
    quarantine,
    refresh_tokens,
)

ROWS_MAX = 1000  # in one transaction; source: own choice, long windows among them take a second of the server's time
EVERY_S = 3600.0  # between two clearings; source: own choice, small against a day


class Retention:
    """Deletes what may go; row-level security keeps it from anything younger, whatever it is asked."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database, self._archive = database, archive
        self._clearing: asyncio.Task[None] | None = None

    def keep_up(self, days: Days) -> None:
        """See to it that the clearing goes on; for whoever is asked for its health every few seconds."""
        if self._clearing is None or self._clearing.done():
            self._clearing = asyncio.create_task(self._go_on(days))

    async def _go_on(self, days: Days) -> None:
        while True:
            try:
                gone = await self.clear(days)
                logs.write("retention.cleared", logging.INFO, None, **gone)
            except Exception as error:
                logs.write("retention.waits", logging.WARNING, error)
            await asyncio.sleep(EVERY_S)

    async def clear(self, days: Days) -> dict[str, int]:
        """Delete what is past its days; return how many rows of each table went.

        Raises:
            Unavailable: The database does not answer; what went by then is gone.
        """
        spoken_of = exists().where(feedback.c.trace_id == diagnoses.c.trace_id)
        ended, answered = refresh_tokens.c.expires_at, diagnoses.c.created_at
        return {
            "sessions": await self._delete(refresh_tokens.c.token_id, ended, days.sessions_days),
            "quarantine": await self._delete(quarantine.c.quarantine_id, quarantine.c.created_at, days.readings_days),
            "events": await self._delete(events.c.event_id, events.c.created_at, days.diagnoses_days),
            "answers": await self._delete(answers.c.trace_id, answers.c.created_at, days.diagnoses_days),
            "jobs": await self._delete(jobs.c.job_id, jobs.c.created_at, days.diagnoses_days),
            "keys": await self._delete(idempotency_keys.c.trace_id, idempotency_keys.c.created_at, KEPT.days),
            "days": await self._drop_days(days.readings_days),
            "diagnoses": await self._delete(diagnoses.c.trace_id, answered, days.diagnoses_days, ~spoken_of),
        }

    async def _delete(self, key: Column[Any], at: Column[Any], days: int, *more: ColumnElement[bool]) -> int:
        past = datetime.now(UTC) - timedelta(days=days)
        oldest = select(key).where(at < past, *more).order_by(at).limit(ROWS_MAX)
        gone, last = 0, ROWS_MAX
        while last == ROWS_MAX:
            async with self._database.transaction("hdx.past", past.isoformat()) as connection:
                await connection.execute(select(func.set_config("hdx.learning", "all", True)))
                last = (await connection.execute(delete(key.table).where(key.in_(oldest)))).rowcount
            gone += last
        return gone

    async def _drop_days(self, days: int) -> int:
        """Drop readings and their summaries of days that are past, of all tenants; return how many went.

        Where there is an archive a day goes once files hold it; one that cannot be written waits for the next clearing.
        """
        past = datetime.now(UTC) - timedelta(days=days)
        async with self._database.transaction("hdx.past", past.isoformat()) as connection:
            found = (await connection.execute(select(func.hdx_past_days(past)))).scalars().all()
        dropped = text("SELECT hdx_drop_day(:day, :past, :archived)")
        gone = 0
        for day in found:
            given = {"day": day, "past": past, "archived": self._archive.is_on}
            with logs.surviving("archive.waits", day=day.isoformat()):
                if self._archive.is_on:
                    await self._archive.keep(day)
                async with self._database.transaction("hdx.past", past.isoformat()) as connection:
                    gone += (await connection.execute(dropped, given)).scalar_one()
        if self._archive.is_on:
            await self._archive.keep_late(past)
            await self._archive.forget_gone(past)
        return gone
