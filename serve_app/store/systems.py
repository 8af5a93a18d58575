"""Systems and their normals: the machines of each tenant, their life, and what is normal for each."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import InvalidInput, NotFound
from pipelines.machines.commissioning import Normal, State
from serve_app.shared import logs
from serve_app.shared.tenant_batches import TenantBatches
from serve_app.store.archive import Archive
from serve_app.store.audit import note
from serve_app.store.database import GROUP_MAX, Database
from serve_app.store.events import tell
from serve_app.store.life import ANEW, changes_to, commissioned, happened
from serve_app.store.records import COMMAND_LINE, Limits, System
from serve_app.store.tables import archived_days, normals, systems

SYSTEM = tuple(systems.c[name] for name in System.__dataclass_fields__)

_Machine = tuple[System, Normal | None]


class Systems:
    """The machines under diagnosis, each with its normal."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database, self._archive = database, archive
        # Concurrent requests of a tenant read together: a round trip costs once a batch.
        self._reading: TenantBatches[int, _Machine] = TenantBatches(self._read, GROUP_MAX)

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> list[System]:
        """Return a page of systems in the order of their ids."""
        query = select(*SYSTEM).where(systems.c.system_id > after).order_by(systems.c.system_id).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [system_of(row) for row in await connection.execute(query)]

    async def get(self, tenant_id: int, system_id: int) -> System:
        """Return one system.

        Raises:
            NotFound: There is none in this tenant.
        """
        return (await self.machine(tenant_id, system_id))[0]

    async def add(self, tenant_id: int, name: str, family: str, description: str, actor: str = COMMAND_LINE) -> System:
        """Add a system; its commissioning begins."""
        row = {"tenant_id": tenant_id, "name": name, "family": family, "description": description}
        async with self._database.tenant(tenant_id) as connection:
            made = system_of((await connection.execute(insert(systems).values(row).returning(*SYSTEM))).one())
            await note(connection, tenant_id, actor, "system.added", f"system {made.system_id}", name)
        return made

    async def change(
        self,
        tenant_id: int,
        system_id: int,
        name: str | None = None,
        description: str | None = None,
        actor: str = COMMAND_LINE,
        state: State | None = None,
        limits: Limits | None = None,
    ) -> System:
        """Change what is given; one that is to be commissioned anew forgets what was normal.

        Raises:
            NotFound: There is none in this tenant.
            InvalidInput: It shall be monitored, and nobody knows what is normal for it.
        """
        given = {"name": name, "description": description, "state": state, "limits": limits}
        changes: dict[str, Any] = {column: value for column, value in given.items() if value is not None}
        noted = ", ".join(f"state {state}" if column == "state" else column for column in sorted(changes))
        async with self._database.tenant(tenant_id) as connection:
            system = await _one(connection, system_id)
            if state is not None:
                known = select(func.count()).select_from(normals).where(normals.c.system_id == system_id)
                changes |= changes_to(system, state, bool((await connection.execute(known)).scalar()))
            changed = await _set(connection, tenant_id, system, changes)
            await note(connection, tenant_id, actor, "system.changed", f"system {system_id}", noted)
        return changed

    async def delete(self, tenant_id: int, system_id: int, actor: str = COMMAND_LINE) -> None:
        """Delete a system with its normal and diagnoses, and its files in the archive.

        Files that cannot be deleted now are when retention clears up.

        Raises:
            NotFound: There is none in this tenant.
        """
        async with self._database.tenant(tenant_id, long=True) as connection:
            gone = await connection.execute(delete(systems).where(systems.c.system_id == system_id))
            if not gone.rowcount:
                raise NotFound("system", system_id)
            await note(connection, tenant_id, actor, "system.deleted", f"system {system_id}", "")
            of_it = archived_days.c.system_id == system_id, archived_days.c.file.is_not(None)
            has_files = (await connection.execute(select(exists().where(*of_it)))).scalar()
        if has_files:
            with logs.surviving("archive.unremoved", tenant_id=tenant_id, system_id=system_id):
                await self._archive.forget(tenant_id, system_id)

    async def machine(self, tenant_id: int, system_id: int) -> _Machine:
        """Return a system with its normal, in one query together with others that are asked for now.

        Raises:
            NotFound: There is none in this tenant.
        """
        return await self._reading.submit(tenant_id, system_id)

    async def _read(self, tenant_id: int, system_ids: Sequence[int]) -> Sequence[_Machine | Exception]:
        wanted = systems.c.system_id.in_(set(system_ids))
        query = select(*SYSTEM, normals.c.content).outerjoin_from(systems, normals).where(wanted)
        async with self._database.tenant(tenant_id) as connection:
            rows = {row.system_id: _machine(tuple(row)) for row in await connection.execute(query)}
        return [rows.get(system_id) or NotFound("system", system_id) for system_id in system_ids]

    async def commission(
        self,
        tenant_id: int,
        system_id: int,
        normal: Normal,
        windows: int,
        detail: str = "",
        actor: str = COMMAND_LINE,
        since: datetime | None = None,
    ) -> bool:
        """Keep what is normal for a system, and monitor it from now on.

        Args:
            tenant_id: Whose.
            system_id: Which.
            normal: Takes the place of the one before.
            windows: That it was learned from.
            detail: For the audit.
            actor: Who did it.
            since: When the commissioning began that this ends; where another one, or none, is under way, nothing is
                done. None for whatever is under way.

        Returns:
            Whether it was done.

        Raises:
            NotFound: There is none in this tenant.
        """
        async with self._database.tenant(tenant_id) as connection:
            system = await _one(connection, system_id)
            if since is not None and (system.state, system.commissioned_since) != ("commissioning", since):
                return False
            await _set(connection, tenant_id, system, commissioned(system, windows))
            query = upsert(normals).values(tenant_id=tenant_id, system_id=system_id, content=normal.to_bytes())
            fresh = {"content": query.excluded.content, "updated_at": func.now()}
            await connection.execute(query.on_conflict_do_update(index_elements=["tenant_id", "system_id"], set_=fresh))
            await note(connection, tenant_id, actor, "system.commissioned", f"system {system_id}", detail)
        return True

    async def amend(
        self, tenant_id: int, system_id: int, change: Callable[[Normal], Normal], detail: str, actor: str = COMMAND_LINE
    ) -> Normal:
        """Change what is normal for a system, while nothing else does.

        Raises:
            NotFound: There is none in this tenant.
            InvalidInput: Nobody knows yet what is normal for it.
        """
        async with self._database.tenant(tenant_id) as connection:
            await _one(connection, system_id)
            known = (await lock_normals(connection, [system_id])).get(system_id)
            if known is None:
                raise InvalidInput("accept", system_id, "must be a system that was commissioned")
            changed = change(known)
            await write_normals(connection, {system_id: changed})
            await note(connection, tenant_id, actor, "system.accepted", f"system {system_id}", detail)
        return changed

    async def forget(self, tenant_id: int, system_id: int, actor: str = COMMAND_LINE) -> System:
        """Forget what is normal for a system; its commissioning begins anew.

        Raises:
            NotFound: There is none in this tenant.
        """
        async with self._database.tenant(tenant_id) as connection:
            changed = await _set(connection, tenant_id, await _one(connection, system_id), dict(ANEW))
            await note(connection, tenant_id, actor, "system.forgotten", f"system {system_id}", "")
        return changed


def system_of(row: Sequence[Any]) -> System:
    """Return a system as its row says."""
    values: dict[str, Any] = dict(zip(System.__dataclass_fields__, row, strict=True))
    return System(**{**values, "evidence": tuple(values["evidence"])})


def _machine(row: Sequence[Any]) -> _Machine:
    *system, content = row
    return system_of(system), None if content is None else Normal.from_bytes(content)


async def lock_systems(connection: AsyncConnection, system_ids: Iterable[int]) -> dict[int, System]:
    """Lock systems in the order of their ids, so that nobody waits for another in a ring; return those there are."""
    wanted = systems.c.system_id.in_(set(system_ids))
    query = select(*SYSTEM).where(wanted).order_by(systems.c.system_id).with_for_update(key_share=True)
    return {row.system_id: system_of(row) for row in await connection.execute(query)}


async def _one(connection: AsyncConnection, system_id: int) -> System:
    found = await lock_systems(connection, [system_id])
    if not found:
        raise NotFound("system", system_id)
    return found[system_id]


async def _set(connection: AsyncConnection, tenant_id: int, system: System, changes: dict[str, Any]) -> System:
    """Change a system that is locked, and tell what that is for people; what it begins anew it forgets."""
    if changes.get("state") == "commissioning":
        await connection.execute(delete(normals).where(normals.c.system_id == system.system_id))
        changes = changes | {"commissioned_since": func.now()}
    if not changes:
        return system
    if "evidence" in changes:
        changes = changes | {"evidence": list(changes["evidence"])}
    query = update(systems).where(systems.c.system_id == system.system_id).values(changes)
    changed = system_of((await connection.execute(query.returning(*SYSTEM))).one())
    await tell(connection, tenant_id, happened(system, changed))
    return changed


async def lock_normals(connection: AsyncConnection, system_ids: Iterable[int]) -> dict[int, Normal]:
    """Lock the normals of systems in the order of their ids; return those there are."""
    wanted = normals.c.system_id.in_(set(system_ids))
    columns = normals.c.system_id, normals.c.content
    query = select(*columns).where(wanted).order_by(normals.c.system_id).with_for_update()
    return {number: Normal.from_bytes(content) for number, content in await connection.execute(query)}


async def write_normals(connection: AsyncConnection, changed: dict[int, Normal]) -> None:
    """Write normals that are locked."""
    for system_id in sorted(changed):
        row = {"content": changed[system_id].to_bytes(), "updated_at": func.now()}
        await connection.execute(update(normals).where(normals.c.system_id == system_id).values(row))
