"""Connections to PostgreSQL, and the transactions that every part of the store works in.

A transaction sees the rows of one tenant, or those that one credential names, by row-level security; whatever it waits
for, it ends within the limits of the settings.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import ceil
from typing import Any, Self

import orjson
from psycopg import Error
from psycopg.errors import LockNotAvailable, QueryCanceled
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from configs.settings import DatabaseWaits
from pipelines.errors import Unavailable
from serve_app.store.tables import APP_ROLE

# Source: own choice; a transaction of this many diagnoses is some ten milliseconds of the server's time.
GROUP_MAX = 256


def _connect_options(waits: DatabaseWaits) -> dict[str, Any]:
    """Return what a connection is made with: its role and limits hold from its first moment.

    Source: PostgreSQL's documentation of client connection defaults and of libpq's parameter key words.
    """
    milliseconds = {
        "lock_timeout": waits.lock_s,
        "statement_timeout": waits.statement_s,
        "idle_in_transaction_session_timeout": waits.transaction_s,
    }
    limits = [f"-c {name}={ceil(1e3 * seconds)}" for name, seconds in milliseconds.items()]
    return {
        "options": " ".join([f"-c role={APP_ROLE}", *limits]),
        "connect_timeout": ceil(waits.connect_s),
        "tcp_user_timeout": ceil(1e3 * waits.transaction_s),
        "keepalives_idle": ceil(waits.transaction_s),
    }


class Database:
    """The pool of connections that the parts of a store share."""

    def __init__(self, engine: AsyncEngine, waits: DatabaseWaits) -> None:
        self._engine, self._waits = engine, waits

    @classmethod
    def open(cls, url: str, pool_size: int, waits: DatabaseWaits | None = None) -> Self:
        """Prepare connections; none is made before the first query."""
        waits = waits or DatabaseWaits()
        engine = create_async_engine(
            url,
            pool_size=pool_size,
            pool_timeout=waits.connect_s,
            connect_args=_connect_options(waits),
            json_serializer=lambda value: orjson.dumps(value).decode(),
        )
        return cls(engine, waits)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self, setting: str, value: str, long: bool = False) -> AsyncIterator[AsyncConnection]:
        """Open a transaction whose rows are those that `setting` allows; a long one may take `long_s`.

        Raises:
            Unavailable: The server cannot be reached, all its connections stay taken, or a limit of time has passed.
        """
        try:
            connection, limit = await self._begin(setting, value, long)
            try:
                yield connection
                await connection.commit()
            finally:
                # Whoever waits may be cancelled; the connection still goes back, and its limit holds until it has.
                closing = asyncio.create_task(connection.close())
                closing.add_done_callback(lambda _: limit.cancel())
                await asyncio.shield(closing)
        except NoFreeConnection:
            raise Unavailable("database", "no connection became free") from None
        except (OperationalError, InterfaceError, OSError) as error:  # `TimeoutError` is one of the last
            raise Unavailable("database", _reason(error)) from None
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise Unavailable("database", "closed the connection") from None

    async def _begin(self, setting: str, value: str, long: bool) -> tuple[AsyncConnection, asyncio.TimerHandle]:
        """Take a connection and begin; one that died while it lay in the pool is replaced, with all older ones."""
        try:
            return await self._try_to_begin(setting, value, long)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return await self._try_to_begin(setting, value, long)

    async def _try_to_begin(self, setting: str, value: str, long: bool) -> tuple[AsyncConnection, asyncio.TimerHandle]:
        async with asyncio.timeout(2 * self._waits.connect_s):  # for a free one, and for the new one that it may be
            connection = await self._engine.connect()
        raw = (await connection.get_raw_connection()).driver_connection
        limit_s = self._waits.long_s if long else self._waits.transaction_s
        limit = asyncio.get_running_loop().call_later(limit_s, _cut, raw)
        settings = {setting: value} | ({"statement_timeout": str(ceil(1e3 * limit_s))} if long else {})
        try:
            await connection.execute(select(*(func.set_config(*each, True) for each in settings.items())))
        except BaseException:
            limit.cancel()
            await asyncio.shield(connection.close())
            raise
        return connection, limit

    def tenant(self, tenant_id: int, long: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that sees the rows of one tenant.

        Raises:
            Unavailable: As `transaction`.
        """
        return self.transaction("hdx.tenant", str(tenant_id), long)


def constraint(error: IntegrityError) -> str | None:
    """Return the name of the rule that a row breaks."""
    return error.orig.diag.constraint_name if isinstance(error.orig, Error) else None


def _reason(error: Exception) -> str:
    """Return why a statement has no answer."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, LockNotAvailable):
        return "others are writing what this is to change, come again"
    return "took too long for one request" if isinstance(cause, QueryCanceled) else "does not answer"


def _cut(raw: Any) -> None:
    """End a connection under whoever waits for it; a cancelled wait would go on to ask a silent server to cancel."""
    if not raw.closed:
        with socket.socket(fileno=os.dup(raw.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
