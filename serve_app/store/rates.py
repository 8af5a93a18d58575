"""Counts of requests by period, and moments of log-in attempts, in the database that all replicas share."""

import time
from collections.abc import Mapping

from sqlalchemy import delete, select, text, tuple_

from serve_app.store.database import Database
from serve_app.store.protocols_rates import Counted
from serve_app.store.tables_rates import login_attempts, request_counts

ADD = text(
    "INSERT INTO request_counts AS kept (name, period, count)"
    " SELECT * FROM unnest(CAST(:names AS text[]), CAST(:periods AS bigint[]), CAST(:counts AS bigint[]))"
    " ON CONFLICT (name, period) DO UPDATE SET count = kept.count + excluded.count"
)
NOW = "extract(epoch FROM clock_timestamp())::double precision"
# One statement, so that attempts at once cannot slip past each other; the server's clock is the one of all replicas.
TAKE = text(
    f"INSERT INTO login_attempts AS kept (name, moments, expires_at)"  # noqa: S608 (nothing of a caller's)
    f" VALUES (:name, array_fill({NOW}, ARRAY[CAST(:amount AS integer)]), {NOW} + :seconds)"
    " ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at, moments = excluded.moments ||"
    " ARRAY(SELECT at FROM unnest(kept.moments) AS at WHERE at > excluded.moments[1] - :seconds)"
    " WHERE :amount + (SELECT count(*) FROM unnest(kept.moments) AS at WHERE at > excluded.moments[1] - :seconds)"
    " <= :limit RETURNING name"
)
WINDOW = text(
    f"SELECT min(at), count(*) FROM login_attempts, unnest(moments) AS at"  # noqa: S608 (nothing of a caller's)
    f" WHERE name = :name AND at > {NOW} - :seconds"
)


class Rates:
    """What was counted; a transaction here sees no row of a tenant's, and one of a tenant's no row of these."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, counts: Mapping[Counted, int]) -> dict[Counted, int]:
        """Add what one replica has counted; return what all have, also of those where it adds nothing."""
        # In one order, so that no two replicas wait for each other.
        added = sorted((*key, count) for key, count in counts.items() if count)
        asked = tuple_(request_counts.c.name, request_counts.c.period).in_(list(counts))
        async with self._database.transaction("hdx.rates", "on") as connection:
            if added:
                names, periods, numbers = (list(column) for column in zip(*added, strict=True))
                await connection.execute(ADD, {"names": names, "periods": periods, "counts": numbers})
            found = await connection.execute(select(request_counts).where(asked))
            return {(name, period): count for name, period, count in found}

    async def forget(self, period: int) -> None:
        """Delete the counts of all periods before this one, and attempts that no limit looks back to."""
        async with self._database.transaction("hdx.rates", "on") as connection:
            await connection.execute(delete(request_counts).where(request_counts.c.period < period))
            await connection.execute(delete(login_attempts).where(login_attempts.c.expires_at < text(NOW)))

    async def take(self, name: str, limit: int, seconds: float, amount: int = 1) -> bool:
        """Count attempts unless there would be more than so many in the seconds up to now; tell whether it did."""
        given = {"name": name, "limit": limit, "seconds": seconds, "amount": amount}
        async with self._database.transaction("hdx.rates", "on") as connection:
            return amount <= limit and (await connection.execute(TAKE, given)).one_or_none() is not None

    async def window(self, name: str, seconds: float) -> tuple[float, int]:
        """Return when the oldest attempt of those seconds was, now where there is none, and how many there are."""
        async with self._database.transaction("hdx.rates", "on") as connection:
            oldest, number = (await connection.execute(WINDOW, {"name": name, "seconds": seconds})).one()
        return (time.time() if oldest is None else oldest), number

    async def clear(self, name: str) -> None:
        """Forget attempts."""
        async with self._database.transaction("hdx.rates", "on") as connection:
            await connection.execute(delete(login_attempts).where(login_attempts.c.name == name))
