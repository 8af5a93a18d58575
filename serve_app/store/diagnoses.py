"""Diagnoses as they were answered, with what each taught its system's baseline, and the passages of the advice."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Row, Text, cast, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import Conflict, NotFound, Unavailable
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import Learned
from serve_app.shared.tenant_batches import TenantBatches
from serve_app.store.database import GROUP_MAX, Database, constraint
from serve_app.store.records import StoredDiagnosis
from serve_app.store.systems import merge
from serve_app.store.tables import consulted, diagnoses, systems

FIELDS = tuple(StoredDiagnosis.__dataclass_fields__)
# The answer goes in and comes out as text: it is neither read nor written again on the way.
DIAGNOSIS = tuple(cast(diagnoses.c[name], Text) if name == "answer" else diagnoses.c[name] for name in FIELDS)


class _Record(NamedTuple):
    diagnosis: StoredDiagnosis
    learned: Learned | None
    alarm: bool | None


class Diagnoses:
    """Answers, each under its trace id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Concurrent requests of a tenant write together: a round trip and a commit cost once a batch.
        self._writing: TenantBatches[_Record, None] = TenantBatches(self._write, GROUP_MAX)

    async def record(
        self, tenant_id: int, diagnosis: StoredDiagnosis, learned: Learned | None, alarm: bool | None = None
    ) -> None:
        """Store an answer, what its window taught the baseline, and the system's new state: all or nothing.

        Returns when it is committed, in one transaction together with others that are stored now.

        Args:
            alarm: The state where it has changed.

        Raises:
            NotFound: The system has been deleted meanwhile, or was never this tenant's.
            Conflict: An answer with this trace id is stored already.
        """
        await self._writing.submit(tenant_id, _Record(diagnosis, learned, alarm))

    async def _write(self, tenant_id: int, records: Sequence[_Record]) -> Sequence[Exception | None]:
        try:
            async with self._database.tenant(tenant_id) as connection:
                await _insert(connection, tenant_id, records)
        except Unavailable:
            raise
        except Exception as error:
            if len(records) > 1:  # one of them broke it for all: each by itself
                alone = [await self._write(tenant_id, [record]) for record in records]
                return [outcome for (outcome,) in alone]
            return [_refusal(error, records[0].diagnosis)]
        return [None] * len(records)

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


async def _insert(connection: AsyncConnection, tenant_id: int, records: Sequence[_Record]) -> None:
    """Write one tenant's records; rows are locked in the order of their ids, so that batches never block each other."""
    # By hand, since `asdict` would copy every sample.
    rows = [
        {name: getattr(record.diagnosis, name) for name in FIELDS}
        | {"tenant_id": tenant_id, "answer": orjson.Fragment(record.diagnosis.answer)}
        for record in records
    ]
    await connection.execute(insert(diagnoses), rows)
    learned: dict[int, list[Baseline]] = {}
    alarms: dict[int, bool] = {}
    for record in records:
        if record.learned is not None:
            learned.setdefault(record.diagnosis.system_id, []).append(record.learned.sums)
        if record.alarm is not None:
            alarms[record.diagnosis.system_id] = record.alarm
    for system_id in sorted(learned):
        for part in _summed(learned[system_id]):
            await merge(connection, tenant_id, system_id, part)
    for system_id in sorted(alarms):
        await connection.execute(
            update(systems).where(systems.c.system_id == system_id).values(alarm=alarms[system_id])
        )


def _summed(parts: Sequence[Baseline]) -> list[Baseline]:
    """Add what several windows teach; where their feature sets differ, each set by itself, in order."""
    sums: list[Baseline] = []
    for part in parts:
        if sums and len(sums[-1].count) == len(part.count):
            sums[-1] = sums[-1] + part
        else:
            sums.append(part)
    return sums
