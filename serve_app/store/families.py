"""Machine kinds that tenants defined, each with all its versions: the newest counts, old answers keep theirs."""

from collections.abc import Mapping
from typing import NoReturn

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import Conflict, InvalidInput, NotFound
from pipelines.machines.definition import are_other_channels, spoken_otherwise
from pipelines.machines.family import OWN_MARK, digest_of
from serve_app.store.audit import note
from serve_app.store.database import Database
from serve_app.store.events import tell
from serve_app.store.life import ANEW
from serve_app.store.records import COMMAND_LINE, StoredFamily
from serve_app.store.records_watching import Happened
from serve_app.store.tables import archived_days, families, normals, rollups, systems

# Families of a tenant, and versions of each. Source: own choice; ten plants with twenty kinds each, changed every day
# for a year.
FAMILIES_MAX, VERSIONS_MAX = 200, 400

FAMILY = tuple(families.c[name] for name in StoredFamily.__dataclass_fields__)
CHOSEN = families.c.removed_at.is_(None)


class Families:
    """Machine kinds of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant_id: int, after: str = "", limit: int = 100) -> list[StoredFamily]:
        """Return a page of families, each in its newest version, in the order of their names."""
        newest = select(*FAMILY).distinct(families.c.name).where(CHOSEN, families.c.name > after)
        query = newest.order_by(families.c.name, families.c.version.desc()).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [StoredFamily(*row) for row in await connection.execute(query)]

    async def get(self, tenant_id: int, name: str, version: int | None = None) -> StoredFamily:
        """Return one family, in its newest version where none is given.

        Raises:
            NotFound: The tenant has none of this name, or no such version of it.
        """
        query = _newest(name) if version is None else _named(name).where(families.c.version == version)
        async with self._database.tenant(tenant_id) as connection:
            asked = name if version is None else f"{name} in version {version}"
            return _found(asked, (await connection.execute(query)).one_or_none())

    async def of_key(self, tenant_id: int, key: str) -> StoredFamily:
        """Return the version that has a `Family.key`; also of a family that was removed.

        Raises:
            NotFound: The tenant never had one.
        """
        name, _, digest = key.partition(OWN_MARK)
        query = select(*FAMILY).where(families.c.name == name, families.c.digest == digest)
        async with self._database.tenant(tenant_id) as connection:
            newest = await connection.execute(query.order_by(families.c.version.desc()).limit(1))
            return _found(name, newest.one_or_none())

    async def add(self, tenant_id: int, name: str, definition: str, actor: str = COMMAND_LINE) -> StoredFamily:
        """Add a family; where one of this name was removed its versions count on.

        Raises:
            Conflict: The tenant has one of this name.
            InvalidInput: It has as many families as a tenant may.
        """
        count = select(func.count(families.c.name.distinct())).where(CHOSEN)
        async with self._database.tenant(tenant_id) as connection:
            if (await connection.execute(_newest(name))).one_or_none() is not None:
                raise Conflict("family", name)
            if (known := (await connection.execute(count)).scalar_one()) >= FAMILIES_MAX:
                raise InvalidInput("name", name, f"would be one family more than {FAMILIES_MAX}, there are {known}")
            return await _write(connection, tenant_id, name, definition, actor, "family.added")

    async def change(self, tenant_id: int, name: str, definition: str, actor: str = COMMAND_LINE) -> StoredFamily:
        """Add a version to a family; the newest one stays where it says the same.

        Where its channels or their units are others now, its systems are commissioned anew, without their limits: what
        was learned and stated is of other numbers.

        Raises:
            NotFound: The tenant has none of this name.
            Conflict: Somebody else changes it at this moment, or readings are kept in a unit that is to be another one.
            InvalidInput: It has as many versions as a family may.
        """
        async with self._database.tenant(tenant_id) as connection:
            now = _found(name, (await connection.execute(_newest(name))).one_or_none())
            if now.definition == definition:
                return now
            if are_other_channels(now.definition, definition):
                await _begin_anew(connection, tenant_id, name)
                await _check_units(connection, name, definition)
            return await _write(connection, tenant_id, name, definition, actor, "family.changed")

    async def remove(self, tenant_id: int, name: str, actor: str = COMMAND_LINE) -> None:
        """Remove a family; what its systems were answered can be given again.

        Raises:
            NotFound: The tenant has none of this name.
            Conflict: A system is of it.
        """
        used = select(systems.c.system_id).where(systems.c.family == name).limit(1)
        gone = update(families).where(families.c.name == name, CHOSEN).values(removed_at=func.now())
        async with self._database.tenant(tenant_id) as connection:
            _found(name, (await connection.execute(_newest(name))).one_or_none())
            if (system := (await connection.execute(used)).scalar()) is not None:
                raise Conflict("family", name, f"must be of no system; system {system} is of it")
            await connection.execute(gone)
            await note(connection, tenant_id, actor, "family.removed", f"family {name}", "")


async def _check_units(connection: AsyncConnection, name: str, definition: str) -> None:
    """Check that no readings of a channel are kept whose unit is to be another one: they say none themselves.

    Raises:
        Conflict: There are such readings.
    """
    versions = select(families.c.definition).where(CHOSEN, families.c.name == name).order_by(families.c.version)
    others = spoken_otherwise((await connection.execute(versions)).scalars(), definition)
    own = systems.c.family == name
    kept = select(systems.c.system_id, rollups.c.channel).join(rollups, rollups.c.system_id == systems.c.system_id)
    kept = kept.where(own, rollups.c.tenant_id == systems.c.tenant_id, rollups.c.channel.in_(others)).limit(1)
    files = select(systems.c.system_id).join(archived_days, archived_days.c.system_id == systems.c.system_id)
    files = files.where(own, archived_days.c.tenant_id == systems.c.tenant_id).limit(1)
    if not others:
        return
    if (found := (await connection.execute(kept)).one_or_none()) is not None:
        raise unit_kept(found.system_id, found.channel, others)
    if (number := (await connection.execute(files)).scalar()) is not None:  # whose channels are not looked up
        raise unit_kept(number, next(iter(others)), others)


def unit_kept(system_id: int, channel: str, others: Mapping[str, tuple[str, str]]) -> Conflict:
    """Return the refusal of another unit, of a channel of which a system has readings."""
    before, after = others[channel]
    rule = f"must stay {before!r}: system {system_id} has readings in it; define another channel, or another family"
    return Conflict(f"channels.{channel}.unit", after, rule)


async def _begin_anew(connection: AsyncConnection, tenant_id: int, name: str) -> None:
    """Commission all systems of a family anew; they are locked in the order of their ids, as everywhere."""
    wanted = select(systems.c.system_id).where(systems.c.family == name).order_by(systems.c.system_id)
    numbers = [row.system_id for row in await connection.execute(wanted.with_for_update())]
    await connection.execute(delete(normals).where(normals.c.system_id.in_(numbers)))
    fresh = {**ANEW, "evidence": [], "limits": {}, "commissioned_since": func.now()}
    await connection.execute(update(systems).where(systems.c.system_id.in_(numbers)).values(fresh))
    why = f"commissioning, as the family {name} has other channels or units"
    await tell(connection, tenant_id, [Happened(number, None, "state.changed", why) for number in numbers])


def _named(name: str) -> Select[tuple[object, ...]]:
    return select(*FAMILY).where(CHOSEN, families.c.name == name)


def _newest(name: str) -> Select[tuple[object, ...]]:
    return _named(name).order_by(families.c.version.desc()).limit(1)


def _found(name: str, row: object) -> StoredFamily:
    if row is None:
        raise NotFound("family", name)
    return StoredFamily(*row)  # type: ignore[misc]  # a row of the columns of `FAMILY`


async def _write(
    connection: AsyncConnection, tenant_id: int, name: str, definition: str, actor: str, action: str
) -> StoredFamily:
    last = select(func.coalesce(func.max(families.c.version), 0)).where(families.c.name == name)
    version = (await connection.execute(last)).scalar_one() + 1
    if version > VERSIONS_MAX:
        raise InvalidInput("version", version, f"must be at most {VERSIONS_MAX}: define a family of another name")
    row = {"tenant_id": tenant_id, "name": name, "version": version, "actor": actor}
    query = insert(families).values(row | {"definition": definition, "digest": digest_of(definition)})
    try:
        written = (await connection.execute(query.returning(*FAMILY))).one()
    except IntegrityError:
        _raced(name)
    await note(connection, tenant_id, actor, action, f"family {name}", f"version {version}")
    return StoredFamily(*written)


def _raced(name: str) -> NoReturn:
    """Somebody else has written this version meanwhile."""
    raise Conflict("family", name) from None
