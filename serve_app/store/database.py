"""Connections to PostgreSQL, and the transactions that every part of the store works in.

A transaction sees the rows of one tenant, or those that one credential names, by row-level security.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self, TypeVar

import orjson
from psycopg import Error
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from pipelines.errors import NotFound, Unavailable
from serve_app.store.tables import APP_ROLE

# Source: own choice; a transaction of this many diagnoses is some ten milliseconds of the server's time.
GROUP_MAX = 256
_Item = TypeVar("_Item", bound=tuple[Any, ...])  # the tenant stands first
_Result = TypeVar("_Result")


class Database:
    """The pool of connections that the parts of a store share."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

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

    @asynccontextmanager
    async def transaction(self, setting: str, value: str) -> AsyncIterator[AsyncConnection]:
        """Open a transaction whose rows are those that `setting` allows.

        Raises:
            Unavailable: The server cannot be reached, or all its connections stay taken.
        """
        try:
            async with self._engine.begin() as connection:
                await connection.execute(select(func.set_config(setting, value, True)))
                yield connection
        except NoFreeConnection:
            raise Unavailable("database", "no connection became free") from None
        except (OperationalError, InterfaceError, OSError):
            raise Unavailable("database", "does not answer") from None

    def tenant(self, tenant_id: int) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that sees the rows of one tenant.

        Raises:
            Unavailable: As `transaction`.
        """
        return self.transaction("hdx.tenant", str(tenant_id))


def constraint(error: IntegrityError) -> str | None:
    """Return the name of the rule that a row breaks."""
    return error.orig.diag.constraint_name if isinstance(error.orig, Error) else None


async def by_tenant(
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
