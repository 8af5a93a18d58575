"""Keys under which callers repeat a request, so that it is done once, over all replicas.

A request holds a key by a row, for the time of a lease. What it changes marks the row in the same transaction, so the
row knows at any moment whether the change is there: where a request died before, the key is free again, and where it
died after, nobody does it twice. A request whose key somebody else has taken can change nothing any more.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import KeyInUse
from serve_app.store.database import Database
from serve_app.store.records_idempotency import HELD, HeldKey, KeptAnswer, KeyScope, KeyState, KnownKey
from serve_app.store.tables import idempotency_keys as keys

# How long a request holds its key at most. Source: `request_timeout_s` of serve_config.yaml, and a margin.
LEASE = timedelta(seconds=65)
# How long an answer is kept. Source: own choice; a day is what most who offer such keys promise, Stripe among them.
KEPT = timedelta(hours=24)
ANSWER = tuple(keys.c[name] for name in KeptAnswer._fields)
ALIVE = keys.c.created_at >= func.now() - KEPT
RUNNING = and_(keys.c.status.is_(None), keys.c.lease_until > func.now())
LOST = and_(keys.c.status.is_(None), keys.c.changed)
FREE = or_(~ALIVE, and_(keys.c.status.is_(None), ~keys.c.changed, keys.c.lease_until <= func.now()))


class IdempotencyKeys:
    """Keys of callers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, scope: KeyScope, trace_id: UUID, fingerprint: bytes | None) -> KnownKey | None:
        """Hold a key for a request; return what is known of it where another request holds it, or held it.

        Args:
            scope: Of the key.
            trace_id: Of the request.
            fingerprint: Of what it asks for; None where its body has not come to its end.
        """
        lease = {"trace_id": trace_id, "fingerprint": fingerprint, "lease_until": func.now() + LEASE}
        made = upsert(keys).values(scope._asdict() | lease).on_conflict_do_nothing().returning(keys.c.trace_id)
        anew = lease | {"created_at": func.now(), "changed": False, **dict.fromkeys(KeptAnswer._fields)}
        taken = update(keys).where(_is(scope), FREE).values(anew)
        state = FREE.label("free"), RUNNING.label("running"), LOST.label("lost")
        known = select(*state, keys.c.trace_id, keys.c.fingerprint, *ANSWER).where(_is(scope))
        async with self._database.tenant(scope.tenant_id) as connection:
            while True:  # others come first, or let go meanwhile, within the time of a transaction
                if (await connection.execute(made)).one_or_none() is not None:
                    return None
                row = (await connection.execute(known)).one_or_none()
                if row is not None and not row.free:
                    return _known(row)
                # Waits for a change that is under way: once it is there, the key is not free.
                if row is not None and (await connection.execute(taken)).rowcount:
                    return None

    async def keep(self, held: HeldKey, answer: KeptAnswer) -> None:
        """Keep what a request was answered, for those that repeat it."""
        kept = answer._asdict() | {"headers": dict(answer.headers), "fingerprint": held.fingerprint()}
        async with self._database.tenant(held.tenant_id) as connection:
            await connection.execute(update(keys).where(_by(held)).values(kept))

    async def release(self, held: HeldKey) -> None:
        """Let a key go without an answer: it is free, unless its request has changed something."""
        async with self._database.tenant(held.tenant_id) as connection:
            # Waits for a change that is under way, as one whose end nobody heard of.
            if not (await connection.execute(delete(keys).where(_by(held), ~keys.c.changed))).rowcount:
                await connection.execute(update(keys).where(_by(held)).values(lease_until=func.now()))


async def mark(connection: AsyncConnection, held: HeldKey | None = None) -> None:
    """Say in the transaction of a change that the request whose key is held has made it.

    Args:
        connection: Of the transaction.
        held: The key; None for that of the request in hand, which mostly has none.

    Raises:
        KeyInUse: Another request has taken the key: this one is to change nothing.
    """
    held = held or HELD.get()
    if held is None:
        return
    marked = update(keys).where(_by(held)).values(changed=True, fingerprint=held.fingerprint())
    if not (await connection.execute(marked)).rowcount:
        raise KeyInUse("idempotency-key", held.trace_id, "is held by another request now: this one changed nothing")


def _is(scope: KeyScope) -> ColumnElement[bool]:
    return and_(*(keys.c[name] == value for name, value in scope._asdict().items()))


def _by(held: HeldKey) -> ColumnElement[bool]:
    return and_(keys.c.tenant_id == held.tenant_id, keys.c.trace_id == held.trace_id)


def _known(row: Any) -> KnownKey:
    answer = None if row.status is None else KeptAnswer(row.status, row.headers, bytes(row.body))
    state: KeyState = "running" if row.running else "lost" if row.lost else "answered"
    fingerprint = None if row.fingerprint is None else bytes(row.fingerprint)
    return KnownKey(state, row.trace_id, fingerprint, answer)
