"""Generations of the keys that tokens are signed by: of the platform, and seen by no tenant."""

from datetime import timedelta

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from pipelines.errors import Conflict
from serve_app.store.audit import note, of
from serve_app.store.database import Database, constraint
from serve_app.store.protocols_token_keys import KeyGeneration
from serve_app.store.records import COMMAND_LINE, written
from serve_app.store.tables_token_keys import token_keys

# In SQL: a number that no generation has had, where those that were cannot be asked for. The second of the moment: by
# rotations, which are an hour apart, numbers grow more slowly. Source: own choice; an integer holds them until 2094.
BEYOND = "CAST(extract(epoch FROM now() - timestamptz '2026-01-01 00:00+00') AS integer)"
GENERATION = token_keys.c.number, token_keys.c.begun_at


class TokenKeys:
    """Generations are added one by one, and never changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def held(self, within: timedelta) -> list[KeyGeneration]:
        """Return the generations that began within so long, and the one before them, in their order."""
        before = select(func.max(token_keys.c.number)).where(token_keys.c.begun_at < func.now() - within)
        query = select(*GENERATION).where(token_keys.c.number >= func.coalesce(before.scalar_subquery(), 0))
        async with of(self._database, None) as connection:
            return [KeyGeneration(*row) for row in await connection.execute(query.order_by(token_keys.c.number))]

    async def rotate(self, apart: timedelta, actor: str = COMMAND_LINE) -> KeyGeneration:
        """Begin the next generation.

        Args:
            apart: How old the newest one must be.
            actor: Who does it, for the audit.

        Raises:
            Conflict: It is younger, or another rotation came first.
        """
        newest = select(*GENERATION, func.now() - token_keys.c.begun_at).order_by(token_keys.c.number.desc()).limit(1)
        try:
            async with of(self._database, None) as connection:
                number, begun_at, age = (await connection.execute(newest)).one()
                if age < apart:
                    raise too_soon(KeyGeneration(number, begun_at), apart)
                row = insert(token_keys).values(number=number + 1).returning(*GENERATION)
                made = KeyGeneration(*(await connection.execute(row)).one())
                await note(connection, None, actor, "token_keys.rotated", f"generation {made.number}", "")
                return made
        except IntegrityError as error:
            if constraint(error) != "token_keys_pkey":
                raise
            raise Conflict("generation", number + 1, "must not be begun by two rotations at once") from None


def too_soon(newest: KeyGeneration, apart: timedelta) -> Conflict:
    """Return the error of a rotation that comes too soon after the last one."""
    since, ends = written(newest.begun_at), written(newest.begun_at + apart)
    return Conflict("generation", newest.number, f"signs since {since}; the next one can begin from {ends} on")
