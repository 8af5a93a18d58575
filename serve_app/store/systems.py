"""Systems and their baselines: the machines of each tenant, and what is normal for each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import case, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import NotFound
from pipelines.machines.baseline import MEMORY, SETTLED, Baseline
from pipelines.machines.commissioning import Normal
from serve_app.shared.tenant_batches import TenantBatches
from serve_app.store.audit import note
from serve_app.store.database import GROUP_MAX, Database
from serve_app.store.records import COMMAND_LINE, System
from serve_app.store.tables import baselines, systems

SYSTEM = tuple(systems.c[name] for name in System.__dataclass_fields__)
BASELINE = (baselines.c.count, baselines.c.total, baselines.c.squares, baselines.c.origin)

_Machine = tuple[System, Normal | None]


class Systems:
    """The machines under diagnosis, each with its baseline."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Concurrent requests of a tenant read together: a round trip costs once a batch.
        self._reading: TenantBatches[int, _Machine] = TenantBatches(self._read, GROUP_MAX)

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> list[System]:
        """Return a page of systems in the order of their ids."""
        query = select(*SYSTEM).where(systems.c.system_id > after).order_by(systems.c.system_id).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [System(*row) for row in await connection.execute(query)]

    async def get(self, tenant_id: int, system_id: int) -> System:
        """Return one system.

        Raises:
            NotFound: There is none in this tenant.
        """
        return (await self.machine(tenant_id, system_id))[0]

    async def add(self, tenant_id: int, name: str, family: str, description: str, actor: str = COMMAND_LINE) -> System:
        """Add a system."""
        row = {"tenant_id": tenant_id, "name": name, "family": family, "description": description}
        async with self._database.tenant(tenant_id) as connection:
            made = System(*(await connection.execute(insert(systems).values(row).returning(*SYSTEM))).one())
            await note(connection, tenant_id, actor, "system.added", f"system {made.system_id}", name)
        return made

    async def change(
        self,
        tenant_id: int,
        system_id: int,
        name: str | None = None,
        description: str | None = None,
        actor: str = COMMAND_LINE,
    ) -> System:
        """Change what is given.

        Raises:
            NotFound: There is none in this tenant.
        """
        given = {"name": name, "description": description}
        changes = {column: value for column, value in given.items() if value is not None}
        # What is not given keeps its own value; a change of nothing is one, too.
        query = update(systems).where(systems.c.system_id == system_id).values(changes or {"name": systems.c.name})
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(query.returning(*SYSTEM))).one_or_none()
            if row is None:
                raise NotFound("system", system_id)
            changed = ", ".join(sorted(changes))
            await note(connection, tenant_id, actor, "system.changed", f"system {system_id}", changed)
        return System(*row)

    async def delete(self, tenant_id: int, system_id: int, actor: str = COMMAND_LINE) -> None:
        """Delete a system with its baseline and diagnoses.

        Raises:
            NotFound: There is none in this tenant.
        """
        async with self._database.tenant(tenant_id, long=True) as connection:
            gone = await connection.execute(delete(systems).where(systems.c.system_id == system_id))
            if not gone.rowcount:
                raise NotFound("system", system_id)
            await note(connection, tenant_id, actor, "system.deleted", f"system {system_id}", "")

    async def machine(self, tenant_id: int, system_id: int) -> _Machine:
        """Return a system with its baseline, in one query together with others that are asked for now.

        Raises:
            NotFound: There is none in this tenant.
        """
        return await self._reading.submit(tenant_id, system_id)

    async def _read(self, tenant_id: int, system_ids: Sequence[int]) -> Sequence[_Machine | Exception]:
        wanted = systems.c.system_id.in_(set(system_ids))
        query = select(*SYSTEM, *BASELINE).outerjoin_from(systems, baselines).where(wanted)
        async with self._database.tenant(tenant_id) as connection:
            rows = {row.system_id: _machine(tuple(row)) for row in await connection.execute(query)}
        return [rows.get(system_id) or NotFound("system", system_id) for system_id in system_ids]

    async def teach(self, tenant_id: int, system_id: int, learned: Baseline) -> None:
        """Merge into a system's baseline what windows known to be normal say.

        Raises:
            NotFound: There is none in this tenant.
        """
        try:
            async with self._database.tenant(tenant_id) as connection:
                await merge(connection, tenant_id, system_id, learned)
        except IntegrityError:
            raise NotFound("system", system_id) from None


def _machine(row: Sequence[Any]) -> _Machine:
    *system, count, total, squares, origin = row
    if count is None:
        return System(*system), None
    sums = (np.array(count), np.array(total), np.array(squares))
    baseline = Baseline(*sums, None if origin is None else np.array(origin, dtype=np.float64))
    return System(*system), Normal.of(baseline)


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
