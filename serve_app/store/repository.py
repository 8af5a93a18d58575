"""Between gateway and PostgreSQL: every query there is, each inside its tenant.

Exists so that no other file knows SQL, and no query can forget whose row it reads.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID

import numpy as np
import orjson
from sqlalchemy import case, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pipelines.errors import Conflict, NotFound, Unavailable
from pipelines.machines.baseline import MEMORY, SETTLED, Baseline
from serve_app.shared.batching import MicroBatch
from serve_app.store.accounts import constraint
from serve_app.store.feedback import Feedback
from serve_app.store.records import StoredDiagnosis, System
from serve_app.store.tables import APP_ROLE, audit, baselines, consulted, diagnoses, systems

# Source: own choice; a transaction of this many diagnoses is some ten milliseconds of the server's time.
GROUP_MAX = 256
SYSTEM = (
    systems.c.system_id,
    systems.c.name,
    systems.c.family,
    systems.c.description,
    systems.c.alarm,
    systems.c.created_at,
)
BASELINE = (baselines.c.count, baselines.c.total, baselines.c.squares, baselines.c.origin)
DIAGNOSIS = (
    diagnoses.c.trace_id,
    diagnoses.c.system_id,
    diagnoses.c.family,
    diagnoses.c.created_at,
    diagnoses.c.window,
    diagnoses.c.answer,
    diagnoses.c.alarm,
    diagnoses.c.baseline,
)


_Key = tuple[int, int]  # tenant, system
_Machine = tuple[System, Baseline | None]


class _Record(NamedTuple):
    tenant_id: int
    diagnosis: StoredDiagnosis
    learned: Baseline | None
    alarm: bool | None


_Item = TypeVar("_Item", _Key, _Record)
_Result = TypeVar("_Result")


class Store(Feedback):
    """All rows of HDX; a method that takes a tenant sees that tenant's rows alone."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        # Concurrent requests read and write together: a round trip and a commit cost once a batch.
        self._reading: MicroBatch[_Key, _Machine] = MicroBatch(self._read, GROUP_MAX)
        self._writing: MicroBatch[_Record, None] = MicroBatch(self._write, GROUP_MAX)

    @classmethod
    def open(cls, url: str, pool_size: int) -> Self:
        """Prepare connections; none is made before the first query."""
        engine = create_async_engine(
            url,
            pool_size=pool_size,
            pool_pre_ping=True,
            # The role that owns nothing, from the first moment of every connection.
            connect_args={"options": f"-c role={APP_ROLE}", "connect_timeout": 5},
            json_serializer=lambda value: orjson.dumps(value).decode(),
        )
        return cls(engine)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def ping(self) -> None:
        """Begin and end a transaction that sees nothing.

        Raises:
            Unavailable: It does not answer.
        """
        async with self._tenant(0):
            pass

    async def systems(self, tenant_id: int, after: int = 0, limit: int = 100) -> list[System]:
        """Return a page of systems in the order of their ids."""
        query = select(*SYSTEM).where(systems.c.system_id > after).order_by(systems.c.system_id).limit(limit)
        async with self._tenant(tenant_id) as connection:
            return [System(*row) for row in await connection.execute(query)]

    async def system(self, tenant_id: int, system_id: int) -> System:
        """Return one system.

        Raises:
            NotFound: There is none in this tenant.
        """
        return (await self.machine(tenant_id, system_id))[0]

    async def add_system(self, tenant_id: int, name: str, family: str, description: str) -> System:
        """Add a system."""
        row = {"tenant_id": tenant_id, "name": name, "family": family, "description": description}
        async with self._tenant(tenant_id) as connection:
            return System(*(await connection.execute(insert(systems).values(row).returning(*SYSTEM))).one())

    async def change_system(
        self, tenant_id: int, system_id: int, name: str | None = None, description: str | None = None
    ) -> System:
        """Change what is given.

        Raises:
            NotFound: There is none in this tenant.
        """
        # What is not given keeps its own value.
        changes = {
            "name": systems.c.name if name is None else name,
            "description": systems.c.description if description is None else description,
        }
        query = update(systems).where(systems.c.system_id == system_id).values(changes).returning(*SYSTEM)
        async with self._tenant(tenant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound("system", system_id)
        return System(*row)

    async def delete_system(self, tenant_id: int, system_id: int) -> None:
        """Delete a system with its baseline and diagnoses.

        Raises:
            NotFound: There is none in this tenant.
        """
        async with self._tenant(tenant_id) as connection:
            gone = await connection.execute(delete(systems).where(systems.c.system_id == system_id))
        if not gone.rowcount:
            raise NotFound("system", system_id)

    async def machine(self, tenant_id: int, system_id: int) -> _Machine:
        """Return a system with its baseline, in one query together with others that are asked for now.

        Raises:
            NotFound: There is none in this tenant.
        """
        return await self._reading.submit((tenant_id, system_id))

    async def _read(self, keys: Sequence[_Key]) -> Sequence[_Machine | Exception]:
        return await self._by_tenant(keys, self._read_tenant)

    async def _read_tenant(self, tenant_id: int, keys: Sequence[_Key]) -> Sequence[_Machine | Exception]:
        wanted = {system_id for _, system_id in keys}
        query = select(*SYSTEM, *BASELINE).outerjoin_from(systems, baselines).where(systems.c.system_id.in_(wanted))
        async with self._tenant(tenant_id) as connection:
            rows = {row.system_id: _machine(tuple(row)) for row in await connection.execute(query)}
        return [rows.get(system_id) or NotFound("system", system_id) for _, system_id in keys]

    async def record(
        self, tenant_id: int, diagnosis: StoredDiagnosis, learned: Baseline | None, alarm: bool | None = None
    ) -> None:
        """Store an answer, what its window taught the baseline, and the system's new state: all or nothing.

        Returns when it is committed, in one transaction together with others that are stored now.

        Args:
            alarm: The state where it has changed.

        Raises:
            NotFound: The system has been deleted meanwhile, or was never this tenant's.
            Conflict: An answer with this trace id is stored already.
        """
        await self._writing.submit(_Record(tenant_id, diagnosis, learned, alarm))

    async def _write(self, records: Sequence[_Record]) -> Sequence[Exception | None]:
        return await self._by_tenant(records, self._write_tenant)

    async def _write_tenant(self, tenant_id: int, records: Sequence[_Record]) -> Sequence[Exception | None]:
        try:
            async with self._tenant(tenant_id) as connection:
                await _insert(connection, records)
        except Unavailable:
            raise
        except Exception as error:
            if len(records) > 1:  # one of them broke it for all: each by itself
                alone = [await self._write_tenant(tenant_id, [record]) for record in records]
                return [outcome for (outcome,) in alone]
            return [_refusal(error, records[0].diagnosis)]
        return [None] * len(records)

    async def _by_tenant(
        self,
        items: Sequence[_Item],
        run: Callable[[int, Sequence[_Item]], Awaitable[Sequence[_Result | Exception]]],
    ) -> Sequence[_Result | Exception]:
        """Run each tenant's items together, and keep everyone's place; no transaction ever holds two tenants."""
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, item in enumerate(items):
            places[item[0]].append(place)
        runs = [run(tenant_id, [items[place] for place in own]) for tenant_id, own in places.items()]
        results: list[_Result | Exception] = [NotFound("item", "")] * len(items)
        for own, found in zip(places.values(), await asyncio.gather(*runs, return_exceptions=True), strict=True):
            if isinstance(found, BaseException) and not isinstance(found, Exception):
                raise found
            outcomes = [found] * len(own) if isinstance(found, Exception) else found
            for place, outcome in zip(own, outcomes, strict=True):
                results[place] = outcome
        return results

    async def teach(self, tenant_id: int, system_id: int, learned: Baseline) -> None:
        """Merge into a system's baseline what windows known to be normal say.

        Raises:
            NotFound: There is none in this tenant.
        """
        try:
            async with self._tenant(tenant_id) as connection:
                await merge(connection, tenant_id, system_id, learned)
        except IntegrityError:
            raise NotFound("system", system_id) from None

    async def diagnosis(self, tenant_id: int, trace_id: UUID) -> StoredDiagnosis:
        """Return an answer that was given.

        Raises:
            NotFound: There is none in this tenant.
        """
        query = select(*DIAGNOSIS).where(diagnoses.c.trace_id == trace_id)
        async with self._tenant(tenant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound("diagnosis", trace_id)
        return StoredDiagnosis(*row)

    async def consult(self, tenant_id: int, trace_id: UUID, passages: Sequence[Mapping[str, Any]]) -> None:
        """Note the passages that the advice on an answer was written from."""
        row = {"tenant_id": tenant_id, "trace_id": trace_id, "passages": passages}
        async with self._tenant(tenant_id) as connection:
            await connection.execute(insert(consulted).values(row))

    async def passages(self, tenant_id: int, trace_id: UUID) -> list[dict[str, Any]]:
        """Return the passages that the advice on an answer was written from; none where there was no advice."""
        query = select(consulted.c.passages).where(consulted.c.trace_id == trace_id)
        async with self._tenant(tenant_id) as connection:
            found: list[dict[str, Any]] | None = (await connection.execute(query)).scalar_one_or_none()
        return found or []

    async def last_finding(self, tenant_id: int, system_id: int) -> StoredDiagnosis | None:
        """Return the newest answer about a system, or None while there is none."""
        own = diagnoses.c.system_id == system_id
        query = select(*DIAGNOSIS).where(own).order_by(diagnoses.c.created_at.desc()).limit(1)
        async with self._tenant(tenant_id) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else StoredDiagnosis(*row)

    async def audit(self, tenant_id: int, actor: str, action: str, subject: str, detail: str) -> None:
        """Note who did what to whom."""
        row = {"tenant_id": tenant_id, "actor": actor, "action": action, "subject": subject, "detail": detail}
        async with self._tenant(tenant_id) as connection:
            await connection.execute(insert(audit).values(row))

    async def audit_log(self, tenant_id: int, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest notes first."""
        query = select(audit).order_by(audit.c.audit_id.desc()).limit(limit)
        async with self._tenant(tenant_id) as connection:
            return [dict(row._mapping) for row in await connection.execute(query)]


def _refusal(error: Exception, diagnosis: StoredDiagnosis) -> Exception:
    """Return why a diagnosis was not stored."""
    if not isinstance(error, IntegrityError):
        return error
    if constraint(error) == "diagnoses_pkey":
        return Conflict("trace_id", diagnosis.trace_id)
    return NotFound("system", diagnosis.system_id)


def _machine(row: Sequence[Any]) -> _Machine:
    *system, count, total, squares, origin = row
    if count is None:
        return System(*system), None
    sums = (np.array(count), np.array(total), np.array(squares))
    return System(*system), Baseline(*sums, None if origin is None else np.array(origin, dtype=np.float64))


async def _insert(connection: AsyncConnection, records: Sequence[_Record]) -> None:
    """Write one tenant's records; rows are locked in the order of their ids, so that batches never block each other."""
    # By hand, since `asdict` would copy every sample.
    rows = [
        {column.name: getattr(record.diagnosis, column.name) for column in DIAGNOSIS} | {"tenant_id": record.tenant_id}
        for record in records
    ]
    await connection.execute(insert(diagnoses), rows)
    learned: dict[int, list[Baseline]] = {}
    alarms: dict[int, bool] = {}
    for record in records:
        if record.learned is not None:
            learned.setdefault(record.diagnosis.system_id, []).append(record.learned)
        if record.alarm is not None:
            alarms[record.diagnosis.system_id] = record.alarm
    for system_id in sorted(learned):
        for part in _summed(learned[system_id]):
            await merge(connection, records[0].tenant_id, system_id, part)
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


async def merge(connection: AsyncConnection, tenant_id: int, system_id: int, learned: Baseline) -> None:
    """Add sums to a baseline under its row's lock, so that concurrent changes lose nothing.

    A baseline of another length belongs to another feature set and is replaced. The same rules as `Baseline.__add__`.
    """
    fresh = {name: getattr(learned, name).tolist() for name in ("count", "total", "squares")}
    origin = None if learned.origin is None else learned.origin.tolist()
    query = upsert(baselines).values(system_id=system_id, tenant_id=tenant_id, **fresh, origin=origin)
    same = func.cardinality(baselines.c.count) == func.cardinality(query.excluded.count)
    keys = [baselines.c.tenant_id, baselines.c.system_id]
    sums = {name: func.hdx_merge(same, baselines.c[name], query.excluded[name]) for name in fresh}
    faded = {name: func.hdx_fade(values, sums["count"], MEMORY) for name, values in sums.items()}
    first = func.hdx_centre(sums["count"], sums["total"], SETTLED)
    began = case((same, func.coalesce(baselines.c.origin, first)), else_=query.excluded.origin)
    await connection.execute(query.on_conflict_do_update(index_elements=keys, set_={**faded, "origin": began}))
