"""Diagnoses as they were answered, with what each taught of its system, and the passages of the advice."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Row, Text, bindparam, cast, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import Conflict, NotFound, Unavailable
from pipelines.machines.alarm import ABSTAINED
from pipelines.machines.commissioning import Learned
from serve_app.shared.tenant_batches import TenantBatches
from serve_app.store.database import GROUP_MAX, Database, constraint
from serve_app.store.events import tell
from serve_app.store.idempotency import mark
from serve_app.store.life import follow, happened
from serve_app.store.records import Finding, Kept, StoredDiagnosis, System, Verdict
from serve_app.store.records_idempotency import HELD, HeldKey
from serve_app.store.records_watching import Happened
from serve_app.store.systems import lock_normals, lock_systems, write_normals
from serve_app.store.tables import consulted, diagnoses, feedback, systems

FIELDS = tuple(StoredDiagnosis.__dataclass_fields__)
# The answer goes in and comes out as text: it is neither read nor written again on the way.
DIAGNOSIS = tuple(cast(diagnoses.c[name], Text) if name == "answer" else diagnoses.c[name] for name in FIELDS)

# Windows of a system that are looked through for what was found, and findings that are returned. Source: own choices; a
# week of windows a minute long, whose answers are read in a second, and more than anybody reads.
LOOKED_THROUGH, FINDINGS_MAX = 10_000, 500
# What a window changes of its system.
LEFT = ("alarm", "learned", "evidence", "judged_until")


class _Record(NamedTuple):
    diagnosis: StoredDiagnosis
    learned: Learned | None
    alarm: bool | None
    level: int
    answer: Callable[[System], bytes] | None
    held: HeldKey | None


class Diagnoses:
    """Answers, each under its trace id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Concurrent requests of a tenant write together: a round trip and a commit cost once a batch.
        self._writing: TenantBatches[_Record, Kept] = TenantBatches(self._write, GROUP_MAX)

    async def record(
        self,
        tenant_id: int,
        diagnosis: StoredDiagnosis,
        learned: Learned | None,
        alarm: bool | None = None,
        level: int = ABSTAINED,
        answer: Callable[[System], bytes] | None = None,
    ) -> Kept:
        """Store an answer, what its window taught, and how the window leaves the system: all or nothing.

        Returns when it is committed, in one transaction together with others that are stored now.

        Args:
            tenant_id: Whose.
            diagnosis: To store.
            learned: What the window teaches a system that is monitored.
            alarm: Whether the window is one, where that has changed.
            level: Of the window, as `pipelines/machines/alarm` counts them.
            answer: Writes the answer from the system as the window leaves it; the diagnosis' own where it is None.

        Raises:
            NotFound: The system has been deleted meanwhile, or was never this tenant's.
            Conflict: An answer with this trace id is stored already.
        """
        return await self._writing.submit(tenant_id, _Record(diagnosis, learned, alarm, level, answer, HELD.get()))

    async def _write(self, tenant_id: int, records: Sequence[_Record]) -> Sequence[Kept | Exception]:
        try:
            async with self._database.tenant(tenant_id) as connection:
                return await _insert(connection, tenant_id, records)
        except Unavailable:
            raise
        except Exception as error:
            if len(records) > 1:  # one of them broke it for all: each by itself
                alone = [await self._write(tenant_id, [record]) for record in records]
                return [outcome for (outcome,) in alone]
            return [_refusal(error, records[0].diagnosis)]

    async def get(self, tenant_id: int, trace_id: UUID) -> StoredDiagnosis:
        """Return an answer that was given.

        Raises:
            NotFound: There is none in this tenant.
        """
        query = select(*DIAGNOSIS).where(diagnoses.c.trace_id == trace_id)
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound("diagnosis", trace_id)
        return _stored(row)

    async def consult(self, tenant_id: int, trace_id: UUID, passages: Sequence[Mapping[str, Any]]) -> None:
        """Note the passages that the advice on an answer was written from."""
        row = {"tenant_id": tenant_id, "trace_id": trace_id, "passages": passages}
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(insert(consulted).values(row))

    async def passages(self, tenant_id: int, trace_id: UUID) -> list[dict[str, Any]]:
        """Return the passages that the advice on an answer was written from; none where there was no advice."""
        query = select(consulted.c.passages).where(consulted.c.trace_id == trace_id)
        async with self._database.tenant(tenant_id) as connection:
            found: list[dict[str, Any]] | None = (await connection.execute(query)).scalar_one_or_none()
        return found or []

    async def last(self, tenant_id: int, system_id: int) -> StoredDiagnosis | None:
        """Return the newest answer about a system, or None while there is none."""
        own = diagnoses.c.system_id == system_id
        query = select(*DIAGNOSIS).where(own).order_by(diagnoses.c.created_at.desc()).limit(1)
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _stored(row)

    async def findings(self, tenant_id: int, system_id: int, since: datetime) -> list[Finding]:
        """Return what was found on a system since a moment, the newest first, of its newest windows alone."""
        own = diagnoses.c.system_id == system_id, diagnoses.c.created_at >= since
        columns = diagnoses.c.trace_id, diagnoses.c.created_at, diagnoses.c.answer
        newest = select(*columns).where(*own).order_by(diagnoses.c.created_at.desc()).limit(LOOKED_THROUGH).subquery()
        found = newest.c.answer["prediction"]
        query = (
            select(newest.c.trace_id, newest.c.created_at, found, feedback.c.verdict, feedback.c.note)
            .join_from(newest, feedback, newest.c.trace_id == feedback.c.trace_id, isouter=True)
            .where(found["is_anomaly"].as_boolean())
            .order_by(newest.c.created_at.desc())
            .limit(FINDINGS_MAX)
        )
        async with self._database.tenant(tenant_id, long=True) as connection:
            return [finding_of(*row) for row in await connection.execute(query)]

    async def newest(
        self, tenant_id: int, system_id: int, limit: int, begin: datetime | None = None, end: datetime | None = None
    ) -> list[dict[str, Any]]:
        """Return a system's newest windows that count, between two moments where they are given, by time."""
        query = select(diagnoses.c.window).where(diagnoses.c.system_id == system_id, diagnoses.c.counted)
        if begin is not None:
            query = query.where(diagnoses.c.created_at >= begin)
        if end is not None:
            query = query.where(diagnoses.c.created_at <= end)
        query = query.order_by(diagnoses.c.created_at.desc()).limit(limit)
        async with self._database.tenant(tenant_id, long=True) as connection:
            found: list[dict[str, Any]] = list((await connection.execute(query)).scalars())
        return found[::-1]

    async def ends(self, tenant_id: int, system_id: int, begin: datetime, end: datetime) -> set[datetime]:
        """Return when those windows of stored readings ended that count, after one moment and up to another."""
        ended = diagnoses.c.window_end
        query = select(ended).where(
            diagnoses.c.system_id == system_id, diagnoses.c.counted, ended > begin, ended <= end
        )
        async with self._database.tenant(tenant_id) as connection:
            return set((await connection.execute(query)).scalars())

    async def known(self, tenant_id: int, trace_ids: Sequence[UUID]) -> set[UUID]:
        """Return those of the trace ids that stand for answers."""
        query = select(diagnoses.c.trace_id).where(diagnoses.c.trace_id.in_(set(trace_ids)))
        async with self._database.tenant(tenant_id) as connection:
            return set((await connection.execute(query)).scalars())

    async def windows(self, tenant_id: int, system_id: int, trace_ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """Return the windows of answers about a system, in the order asked for.

        Raises:
            NotFound: One of them is none of this system.
        """
        query = select(diagnoses.c.trace_id, diagnoses.c.window).where(
            diagnoses.c.system_id == system_id, diagnoses.c.trace_id.in_(set(trace_ids))
        )
        async with self._database.tenant(tenant_id) as connection:
            found = {row.trace_id: row.window for row in await connection.execute(query)}
        for trace_id in trace_ids:
            if trace_id not in found:
                raise NotFound("diagnosis", trace_id)
        return [found[trace_id] for trace_id in trace_ids]


def finding_of(
    trace_id: UUID, created_at: datetime, prediction: Mapping[str, Any], verdict: Verdict | None, note: str | None
) -> Finding:
    """Return what an answer found, in short."""
    components = tuple(prediction["affected_components"])
    kind: str | None = prediction["anomaly_type"]
    return Finding(trace_id, created_at, prediction["severity"], kind, components, verdict, note or "")


def _stored(row: Row[Any]) -> StoredDiagnosis:
    values = dict(zip(FIELDS, row, strict=True))
    return StoredDiagnosis(**{**values, "answer": values["answer"].encode()})


def _refusal(error: Exception, diagnosis: StoredDiagnosis) -> Exception:
    """Return why a diagnosis was not stored."""
    if not isinstance(error, IntegrityError):
        return error
    if constraint(error) == "diagnoses_pkey":
        return Conflict("trace_id", diagnosis.trace_id)
    return NotFound("system", diagnosis.system_id)


async def _insert(connection: AsyncConnection, tenant_id: int, records: Sequence[_Record]) -> list[Kept]:
    """Write one tenant's records; rows are locked in the order of their ids, so that batches never block each other."""
    before = await lock_systems(connection, [record.diagnosis.system_id for record in records])
    teachers = [record.diagnosis.system_id for record in records if record.learned is not None]
    normals = await lock_normals(connection, teachers) if teachers else {}
    known, systems_now = dict(normals), dict(before)
    kept: list[Kept] = []
    told: list[Happened] = []
    for record in records:
        number = record.diagnosis.system_id
        if number not in systems_now:
            raise NotFound("system", number)
        at = record.diagnosis.window_end or record.diagnosis.created_at
        system = systems_now[number]
        system, counts = follow(system, record.diagnosis, record.level, record.alarm)
        told += happened(systems_now[number], system, at, record.diagnosis.trace_id)
        systems_now[number] = system
        if counts and system.state == "monitoring" and record.learned is not None and number in known:
            known[number] = known[number].learning(record.learned)
        answer = record.diagnosis.answer if record.answer is None else record.answer(system)
        kept.append(Kept(system, answer, counts))
    await connection.execute(insert(diagnoses), list(map(_row, records, kept, [tenant_id] * len(records))))
    await _write_systems(connection, [now for number, now in systems_now.items() if now is not before[number]])
    await write_normals(connection, {number: now for number, now in known.items() if now is not normals[number]})
    await tell(connection, tenant_id, told)
    # Of the records' own requests: whose work it is that they share a transaction says nothing.
    for held in {record.held.trace_id: record.held for record in records if record.held}.values():
        await mark(connection, held)
    return kept


def _row(record: _Record, kept: Kept, tenant_id: int) -> dict[str, Any]:
    # By hand, since `asdict` would copy every sample.
    row = {name: getattr(record.diagnosis, name) for name in FIELDS}
    return row | {"tenant_id": tenant_id, "answer": orjson.Fragment(kept.answer), "counted": kept.counted}


async def _write_systems(connection: AsyncConnection, changed: Sequence[System]) -> None:
    """Write how windows leave systems that are locked."""
    if changed:
        given: dict[str, Any] = {name: bindparam(f"new_{name}") for name in LEFT}
        query = update(systems).where(systems.c.system_id == bindparam("number")).values(given)
        rows = [
            {"number": each.system_id, "new_evidence": list(each.evidence)}
            | {f"new_{name}": getattr(each, name) for name in LEFT if name != "evidence"}
            for each in sorted(changed, key=lambda each: each.system_id)
        ]
        await connection.execute(query, rows)
