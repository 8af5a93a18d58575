"""Sessions: families of refresh tokens, each token good for one exchange.

That a session begins or ends is in the audit; an exchange within it changes nothing that its account may do.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Text, cast, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import NotFound, Unauthenticated
from serve_app.store.audit import note
from serve_app.store.database import Database
from serve_app.store.records import COMMAND_LINE, Session
from serve_app.store.tables import refresh_tokens, users


class Sessions:
    """Refresh tokens; all that descend from one log-in are a family and end together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, user_id: int, family: UUID, token_id: UUID, expires_at: datetime, address: str = "") -> None:
        """Begin a family of refresh tokens: its account has logged in, from an address."""
        row = {"user_id": user_id, "family": family, "token_id": token_id, "expires_at": expires_at}
        row |= {"begun_at": func.now()}
        async with self._database.transaction("hdx.family", str(family)) as connection:
            await connection.execute(insert(refresh_tokens).values(row))
            await _note(connection, user_id, "login", address)

    async def rotate(self, token_id: UUID, new_id: UUID, expires_at: datetime) -> tuple[int, UUID]:
        """Exchange a refresh token for a new one; return its user and family.

        Raises:
            Unauthenticated: It is unknown, expired or revoked, or was used before, which revokes its whole family.
        """
        async with self._database.transaction("hdx.session", str(token_id)) as connection:
            await hold_family(connection, token_id)
            used = await connection.execute(
                update(refresh_tokens)
                .where(refresh_tokens.c.token_id == token_id)
                .where(refresh_tokens.c.used_at.is_(None), refresh_tokens.c.revoked_at.is_(None))
                .where(refresh_tokens.c.expires_at > func.now())
                .values(used_at=func.now())
                .returning(refresh_tokens.c.user_id, refresh_tokens.c.family, refresh_tokens.c.begun_at)
            )
            row = used.one_or_none()
            if row is None:
                await revoke_family(connection, token_id, "session.revoked", "a refresh token was used again")
            else:
                fresh = {"token_id": new_id, "expires_at": expires_at, **row._mapping}
                await connection.execute(insert(refresh_tokens).values(fresh))
        if row is None:
            raise Unauthenticated("the refresh token does not hold; log in again")
        return row.user_id, row.family

    async def end(self, token_id: UUID) -> None:
        """Revoke the token's whole family."""
        async with self._database.transaction("hdx.session", str(token_id)) as connection:
            await hold_family(connection, token_id)
            await revoke_family(connection, token_id, "logout", "")

    async def page(self, tenant_id: int, user_id: int) -> list[Session]:
        """Return the open sessions of a tenant's account, the newest first; there are as many as it has log-ins.

        Raises:
            NotFound: There is no such account in this tenant.
        """
        token = refresh_tokens.c
        begun = func.min(func.coalesce(token.begun_at, token.created_at))
        query = select(token.family, begun, func.max(token.used_at), func.max(token.expires_at))
        query = query.where(token.user_id == user_id, token.revoked_at.is_(None)).group_by(token.family)
        query = query.having(func.max(token.expires_at) > func.now()).order_by(begun.desc(), token.family)
        async with self._database.tenant(tenant_id) as connection:
            await see_sessions(connection, user_id)
            return [Session(*row) for row in await connection.execute(query)]

    async def end_one(self, tenant_id: int, user_id: int, session_id: UUID, actor: str = COMMAND_LINE) -> None:
        """End an open session of a tenant's account.

        Raises:
            NotFound: There is no such account in this tenant, or it has no such session open.
        """
        token = refresh_tokens.c
        own = update(refresh_tokens).where(token.user_id == user_id, token.family == session_id)
        ended = own.where(token.revoked_at.is_(None)).values(revoked_at=func.now())
        was_open = ended.returning(token.expires_at > func.now())
        async with self._database.tenant(tenant_id) as connection:
            username = await see_sessions(connection, user_id)
            # As `hold_family`: a token that is being exchanged now must not slip away.
            await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(session_id), 0))))
            if not any((await connection.execute(was_open)).scalars()):
                raise NotFound("session", session_id)
            await note(connection, tenant_id, actor, "user.session.ended", f"user {user_id}", username)


async def see_sessions(connection: AsyncConnection, user_id: int) -> str:
    """Let a tenant's transaction see the tokens of one of its accounts; return the account's name.

    Raises:
        NotFound: There is no such account in this tenant.
    """
    query = select(users.c.username).where(users.c.user_id == user_id)
    username: str | None = (await connection.execute(query)).scalar_one_or_none()
    if username is None:
        raise NotFound("user", user_id)
    await connection.execute(select(func.set_config("hdx.user", str(user_id), True)))
    return username


async def hold_family(connection: AsyncConnection, token_id: UUID) -> None:
    """Let the transaction see a token's whole family, and make any other that wants it wait.

    Without the wait, a revocation could miss the token that a concurrent rotation is about to commit.
    """
    family = cast(refresh_tokens.c.family, Text)
    seen = func.set_config("hdx.family", family, True)
    held = func.pg_advisory_xact_lock(func.hashtextextended(family, 0))
    await connection.execute(select(seen, held).where(refresh_tokens.c.token_id == token_id))


async def revoke_family(connection: AsyncConnection, token_id: UUID, action: str, detail: str) -> None:
    """Revoke every token that descends from the same log-in, and note that where any held."""
    family = select(refresh_tokens.c.family).where(refresh_tokens.c.token_id == token_id).scalar_subquery()
    query = update(refresh_tokens).where(refresh_tokens.c.family == family, refresh_tokens.c.revoked_at.is_(None))
    revoked = query.values(revoked_at=func.now()).returning(refresh_tokens.c.user_id)
    for user_id in set((await connection.execute(revoked)).scalars()):
        await _note(connection, user_id, action, detail)


async def _note(connection: AsyncConnection, user_id: int, action: str, detail: str) -> None:
    """Note a deed of an account, whose tenant the transaction does not know."""
    await connection.execute(select(func.set_config("hdx.user", str(user_id), True)))
    own = select(users.c.tenant_id, users.c.username).where(users.c.user_id == user_id)
    account = (await connection.execute(own)).one()
    await connection.execute(select(func.set_config("hdx.tenant", str(account.tenant_id), True)))
    await note(connection, account.tenant_id, account.username, action, f"user {user_id}", detail)
