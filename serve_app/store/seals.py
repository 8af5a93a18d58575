"""The tenants' trees as the database has them: leaves and checkpoints, to seal notes with and to verify them by.

What is read here the database's owner may have written; whether it holds is for others to say.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Table, and_, case, exists, func, insert, literal, literal_column, select, text, tuple_, union
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from serve_app.shared.checkpoints import Checkpoint, KeptCheckpoint
from serve_app.shared.merkle import leaf_hash
from serve_app.store.audit import of
from serve_app.store.database import Database
from serve_app.store.records_audit import Leaf, Unsealed, content_of, hashed
from serve_app.store.tables_audit import audit, audit_checkpoints, audit_leaves

# Notes that are sealed in one transaction, or read at once. Source: own choice; some tenths of a second.
ROWS_MAX = 2000
LOCK = 0x48445A  # one seals a tenant's notes at a time; a number as in `migrate`
# A moment that Python cannot hold would end whoever reads it; no note is written then.
_MOMENT = case(
    (
        and_(
            func.isfinite(audit.c.created_at),
            audit.c.created_at > literal_column("timestamptz '1970-01-01 00:00+00'"),
            audit.c.created_at < literal_column("timestamptz '9999-01-01 00:00+00'"),
        ),
        audit.c.created_at,
    ),
    else_=literal_column("timestamptz '1970-01-01 00:00+00'"),
).label("created_at")
_NOTE = (audit.c.tenant_id, audit.c.audit_id, audit.c.actor, audit.c.action, audit.c.subject, audit.c.detail, _MOMENT)
_KEPT = (audit_checkpoints.c.note, audit_checkpoints.c.hashes)
_IN_ITS_TREE = exists().where(
    audit_leaves.c.audit_id == audit.c.audit_id,
    func.coalesce(audit_leaves.c.tenant_id, 0) == func.coalesce(audit.c.tenant_id, 0),
)


class Signed(NamedTuple):
    """A checkpoint, as it is and as it is kept."""

    said: Checkpoint
    kept: KeptCheckpoint


class Span(NamedTuple):
    """The database's leaves of a tree: from the lowest index to the one behind the highest; 0, 0 for none."""

    first: int
    end: int


class Grow(Protocol):
    """Signs what a tree becomes."""

    def __call__(self, newest: KeptCheckpoint | None, span: Span, hashes: Sequence[bytes], whole: bool, /) -> Signed:
        """Return the checkpoint of a tree with more leaves.

        Args:
            newest: The database's newest checkpoint.
            span: The database's leaves.
            hashes: Of those to add.
            whole: Whether these are all.
        """
        ...


class Drop(Protocol):
    """Signs what retention leaves."""

    def __call__(self, newest: KeptCheckpoint | None, span: Span, up_to: KeptCheckpoint, /) -> Signed | None:
        """Return the checkpoint that says how many leaves are dropped; None where none are.

        Args:
            newest: The database's newest checkpoint.
            span: The database's leaves.
            up_to: The one with which the leaves end that may go.
        """
        ...


class Seals:
    """Leaves and checkpoints of all tenants; a tenant of None stands for the platform."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _all(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._database.transaction("hdx.sealing", "all", long=True)

    # --- to seal

    async def unsealed(self, within: timedelta | None) -> list[int | None]:
        """Return who has notes that are in no tree, of those written so lately where that is given."""
        query = select(audit.c.tenant_id).where(~_IN_ITS_TREE, *_lately(within)).distinct()
        async with self._all() as connection:
            return list((await connection.execute(query)).scalars())

    async def seal(self, tenant_id: int | None, within: timedelta | None, grow: Grow) -> Signed | None:
        """Add notes that a tenant's tree lacks, in the order of their numbers, 2,000 at most; None where it has all."""
        own = _own(audit, tenant_id), ~_IN_ITS_TREE, *_lately(within)
        query = select(*_NOTE).where(*own).order_by(audit.c.audit_id).limit(ROWS_MAX)
        async with of(self._database, tenant_id) as connection:
            await _alone(connection, tenant_id)
            notes = [hashed(row._mapping) for row in await connection.execute(query)]
            if not notes:
                return None
            hashes = [leaf_hash(content_of(note)) for note in notes]
            signed = grow(*await _state(connection, tenant_id), hashes, len(notes) < ROWS_MAX)
            first = signed.said.size - len(notes)
            rows = [
                {"tenant_id": tenant_id, "audit_id": note["audit_id"], "leaf_index": first + at, "hash": hashes[at]}
                for at, note in enumerate(notes)
            ]
            await connection.execute(insert(audit_leaves), rows)
            await _keep(connection, signed)
        return signed

    async def drop(self, tenant_id: int | None, past: datetime, drop: Drop) -> Signed | None:
        """Drop the notes that were sealed before a moment, with their leaves and checkpoints; None where none are.

        Raises:
            Unavailable: The database does not answer.
        """
        before = _own(audit_checkpoints, tenant_id), audit_checkpoints.c.signed_at < past
        query = select(*_KEPT).where(*before).order_by(audit_checkpoints.c.checkpoint_id.desc()).limit(1)
        async with of(self._database, tenant_id, long=True) as connection:
            await _alone(connection, tenant_id)
            found = (await connection.execute(query)).one_or_none()
            if found is None:
                return None
            signed = drop(*await _state(connection, tenant_id), KeptCheckpoint(*found))
            if signed is not None:
                given = {"tenant": tenant_id, "before": signed.said.dropped, "past": past}
                await connection.execute(
                    text("SELECT hdx_drop_notes(CAST(:tenant AS integer), CAST(:before AS bigint), :past)"), given
                )
                await _keep(connection, signed)
        return signed

    # --- to verify and export

    async def tenants(self) -> list[int | None]:
        """Return who has notes, leaves or checkpoints, the platform first."""
        query = union(*(select(table.c.tenant_id) for table in (audit, audit_leaves, audit_checkpoints)))
        async with self._all() as connection:
            found = (await connection.execute(query)).scalars().all()
        return sorted(found, key=lambda tenant_id: tenant_id or 0)

    async def newest(self, tenant_id: int | None) -> KeptCheckpoint | None:
        """Return the newest checkpoint of the database; None where there is none."""
        async with of(self._database, tenant_id) as connection:
            return await newest(connection, tenant_id)

    async def extent(self, tenant_id: int | None) -> tuple[int, int]:
        """Return how many leaves there are at a moment, by the highest index, and the newest checkpoint's number."""
        leaves = select(func.max(audit_leaves.c.leaf_index) + 1).where(_own(audit_leaves, tenant_id))
        last = select(func.max(audit_checkpoints.c.checkpoint_id)).where(_own(audit_checkpoints, tenant_id))
        async with self._all() as connection:
            query = select(leaves.scalar_subquery(), last.scalar_subquery())
            size, newest = (await connection.execute(query)).one()
        return size or 0, newest or 0

    async def leaves(self, tenant_id: int | None, size: int) -> AsyncIterator[Leaf]:
        """Yield the leaves below a size, in order, with their notes, whosesoever these are."""
        key = audit_leaves.c.leaf_index, audit_leaves.c.audit_id
        query = (
            select(*key, audit_leaves.c.hash, *(each.label(f"note_{each.name}") for each in _NOTE))
            .outerjoin_from(audit_leaves, audit, audit.c.audit_id == audit_leaves.c.audit_id)
            .where(_own(audit_leaves, tenant_id), audit_leaves.c.leaf_index < size)
            .order_by(*key)
            .limit(ROWS_MAX)
        )
        page: Sequence[Any] = await self._read(query)
        while page:
            for index, audit_id, digest, *note in page:
                names = (each.name for each in _NOTE)
                is_there = note[1] is not None
                yield Leaf(index, digest, audit_id, hashed(dict(zip(names, note, strict=True))) if is_there else None)
            after = tuple_(*key) > tuple_(*map(literal, page[-1][:2]))
            page = await self._read(query.where(after)) if len(page) == ROWS_MAX else ()

    async def checkpoints(self, tenant_id: int | None, last: int) -> AsyncIterator[KeptCheckpoint]:
        """Yield checkpoints up to a number, in the order in which they were kept."""
        number = audit_checkpoints.c.checkpoint_id
        own = _own(audit_checkpoints, tenant_id), number <= last
        query = select(number, *_KEPT).where(*own).order_by(number).limit(ROWS_MAX)
        page: Sequence[Any] = await self._read(query)
        while page:
            for _, note, hashes in page:
                yield KeptCheckpoint(note, hashes)
            page = await self._read(query.where(number > page[-1][0])) if len(page) == ROWS_MAX else ()

    async def of_size(self, tenant_id: int | None, size: int) -> list[KeptCheckpoint]:
        """Return the checkpoints of a size."""
        query = select(*_KEPT).where(_own(audit_checkpoints, tenant_id), audit_checkpoints.c.size == size)
        return [KeptCheckpoint(*row) for row in await self._read(query.limit(ROWS_MAX))]

    async def has(self, tenant_id: int | None, note: str) -> bool:
        """Tell whether there is a checkpoint."""
        query = select(audit_checkpoints.c.size).where(_own(audit_checkpoints, tenant_id))
        return bool(await self._read(query.where(audit_checkpoints.c.note == note)))

    async def outside(self, tenant_id: int | None) -> Unsealed:
        """Return what a tenant has of notes that are not in its own tree."""
        own = _own(audit, tenant_id), ~_IN_ITS_TREE
        first = select(audit.c.audit_id, _MOMENT, func.count().over()).where(*own).order_by(_MOMENT, audit.c.audit_id)
        found = await self._read(first.limit(1))
        if not found:
            return Unsealed(0, None, None)
        audit_id, oldest, count = found[0]
        return Unsealed(count, audit_id, oldest.astimezone(UTC))

    async def _read(self, query: Any) -> Sequence[Any]:
        async with self._all() as connection:
            return (await connection.execute(query)).all()


async def newest(connection: AsyncConnection, tenant_id: int | None) -> KeptCheckpoint | None:
    """Return the newest checkpoint that the database has."""
    number = audit_checkpoints.c.checkpoint_id.desc()
    query = select(*_KEPT).where(_own(audit_checkpoints, tenant_id)).order_by(number).limit(1)
    found = (await connection.execute(query)).one_or_none()
    return None if found is None else KeptCheckpoint(*found)


async def _state(connection: AsyncConnection, tenant_id: int | None) -> tuple[KeptCheckpoint | None, Span]:
    index = audit_leaves.c.leaf_index
    leaves = select(func.min(index), func.max(index)).where(_own(audit_leaves, tenant_id))
    first, last = (await connection.execute(leaves)).one()
    return await newest(connection, tenant_id), Span(0, 0) if last is None else Span(first, last + 1)


async def _keep(connection: AsyncConnection, signed: Signed) -> None:
    said, kept = signed
    row = {"tenant_id": said.tenant_id, "size": said.size, "signed_at": datetime.fromtimestamp(said.time, UTC)}
    await connection.execute(insert(audit_checkpoints).values(row | {"note": kept.note, "hashes": kept.hashes}))


async def _alone(connection: AsyncConnection, tenant_id: int | None) -> None:
    lock = {"lock": LOCK, "tenant": tenant_id or 0}
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock, :tenant)"), lock)


def _own(table: Table, tenant_id: int | None) -> ColumnElement[bool]:
    return table.c.tenant_id == tenant_id


def _lately(within: timedelta | None) -> list[ColumnElement[bool]]:
    return [] if within is None else [audit.c.created_at >= func.now() - within]
