"""Between log-in and PostgreSQL: tenants, accounts and their credentials.

Exists so that the few look-ups made before a tenant is known stand together in one short file.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from uuid import UUID

from psycopg import Error
from sqlalchemy import Text, cast, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoFreeConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipelines.errors import Conflict, HdxError, InvalidInput, NotFound, Unauthenticated, Unavailable
from serve_app.store.records import Account, Principal, Role
from serve_app.store.tables import api_keys, refresh_tokens, tenants, users

ACCOUNT = (
    users.c.user_id,
    users.c.tenant_id,
    users.c.username,
    users.c.email,
    users.c.password_hash,
    users.c.role,
    users.c.active,
)


class Accounts:
    """Accounts, refresh tokens and API keys."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def _transaction(self, setting: str, value: str) -> AsyncIterator[AsyncConnection]:
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

    def _tenant(self, tenant_id: int) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._transaction("hdx.tenant", str(tenant_id))

    async def account_by_login(self, login: str) -> Account | None:
        """Return the account of a user name or an e-mail address, whatever their case."""
        wanted = login.strip()
        same = func.lower(wanted)
        query = select(*ACCOUNT).where(or_(func.lower(users.c.username) == same, func.lower(users.c.email) == same))
        async with self._transaction("hdx.tenant", "") as connection:
            # Lowered by the server, as its unique indexes are: its locale and Python's may differ.
            await connection.execute(select(func.set_config("hdx.login", same, True)))
            row = (await connection.execute(query)).one_or_none()
        return Account(*row) if row else None

    async def account(self, user_id: int) -> Account | None:
        """Return an account."""
        async with self._transaction("hdx.user", str(user_id)) as connection:
            row = (await connection.execute(select(*ACCOUNT).where(users.c.user_id == user_id))).one_or_none()
        return Account(*row) if row else None

    async def principal_by_api_key(self, sha256: bytes) -> Principal | None:
        """Return whom a key stands for."""
        query = select(api_keys.c.tenant_id, api_keys.c.name, api_keys.c.role).where(api_keys.c.sha256 == sha256)
        async with self._transaction("hdx.api_key", sha256.hex()) as connection:
            row = (await connection.execute(query)).one_or_none()
        return Principal(row.tenant_id, None, row.name, row.role) if row else None

    async def start_session(self, user_id: int, family: UUID, token_id: UUID, expires_at: datetime) -> None:
        """Begin a family of refresh tokens."""
        row = {"user_id": user_id, "family": family, "token_id": token_id, "expires_at": expires_at}
        async with self._transaction("hdx.family", str(family)) as connection:
            await connection.execute(insert(refresh_tokens).values(row))

    async def rotate_session(self, token_id: UUID, new_id: UUID, expires_at: datetime) -> tuple[int, UUID]:
        """Exchange a refresh token for a new one; return its user and family.

        Raises:
            Unauthenticated: It is unknown, expired or revoked, or was used before, which revokes its whole family.
        """
        async with self._transaction("hdx.session", str(token_id)) as connection:
            await hold_family(connection, token_id)
            used = await connection.execute(
                update(refresh_tokens)
                .where(refresh_tokens.c.token_id == token_id)
                .where(refresh_tokens.c.used_at.is_(None), refresh_tokens.c.revoked_at.is_(None))
                .where(refresh_tokens.c.expires_at > func.now())
                .values(used_at=func.now())
                .returning(refresh_tokens.c.user_id, refresh_tokens.c.family)
            )
            row = used.one_or_none()
            if row is None:
                await revoke_family(connection, token_id)
            else:
                fresh = {"token_id": new_id, "family": row.family, "user_id": row.user_id, "expires_at": expires_at}
                await connection.execute(insert(refresh_tokens).values(fresh))
        if row is None:
            raise Unauthenticated("the refresh token does not hold; log in again")
        return row.user_id, row.family

    async def end_session(self, token_id: UUID) -> None:
        """Revoke the token's whole family."""
        async with self._transaction("hdx.session", str(token_id)) as connection:
            await hold_family(connection, token_id)
            await revoke_family(connection, token_id)

    async def ensure_tenant(self, name: str) -> int:
        """Return the tenant of that name, made when absent."""
        query = upsert(tenants).values(name=name)
        # An update that changes nothing, since `DO NOTHING` returns no row.
        query = query.on_conflict_do_update(index_elements=[tenants.c.name], set_={"name": query.excluded.name})
        async with self._transaction("hdx.tenant_name", name) as connection:
            tenant_id: int = (await connection.execute(query.returning(tenants.c.tenant_id))).scalar_one()
        return tenant_id

    async def tenant(self, name: str) -> int:
        """Return the id of the tenant of that name.

        Raises:
            NotFound: There is none.
        """
        query = select(tenants.c.tenant_id).where(tenants.c.name == name)
        async with self._transaction("hdx.tenant_name", name) as connection:
            tenant_id: int | None = (await connection.execute(query)).scalar_one_or_none()
        if tenant_id is None:
            raise NotFound("tenant", name)
        return tenant_id

    async def add_account(self, tenant_id: int, username: str, email: str, password_hash: str, role: Role) -> Account:
        """Add an account.

        Raises:
            Conflict: The user name or the e-mail address is taken, in whatever case.
            InvalidInput: One of them could be taken for another account's.
            NotFound: There is no such tenant.
        """
        row = {
            "tenant_id": tenant_id,
            "username": username,
            "email": email,
            "password_hash": password_hash,
            "role": role,
        }
        refusals: dict[str | None, HdxError] = {
            "users_username": Conflict("username", username),
            "users_email": Conflict("email", email),
            "users_username_form": InvalidInput("username", username, "may hold @ only as the account's own e-mail"),
            "users_email_form": InvalidInput("email", email, "must hold @"),
        }
        try:
            async with self._tenant(tenant_id) as connection:
                return Account(*(await connection.execute(insert(users).values(row).returning(*ACCOUNT))).one())
        except IntegrityError as error:
            raise refusals.get(constraint(error), NotFound("tenant", tenant_id)) from None

    async def add_api_key(self, tenant_id: int, name: str, role: Role, sha256: bytes) -> None:
        """Let a key stand for a tenant with a role; only its digest is kept.

        Raises:
            Conflict: The key is known already.
            NotFound: There is no such tenant.
        """
        row = {"tenant_id": tenant_id, "name": name, "role": role, "sha256": sha256}
        try:
            async with self._tenant(tenant_id) as connection:
                await connection.execute(insert(api_keys).values(row))
        except IntegrityError as error:
            taken = constraint(error) == "api_keys_pkey"
            raise (Conflict("api_key", name) if taken else NotFound("tenant", tenant_id)) from None


def constraint(error: IntegrityError) -> str | None:
    """Return the name of the rule that a row breaks."""
    return error.orig.diag.constraint_name if isinstance(error.orig, Error) else None


async def hold_family(connection: AsyncConnection, token_id: UUID) -> None:
    """Let the transaction see a token's whole family, and make any other that wants it wait.

    Without the wait, a revocation could miss the token that a concurrent rotation is about to commit.
    """
    family = cast(refresh_tokens.c.family, Text)
    seen = func.set_config("hdx.family", family, True)
    held = func.pg_advisory_xact_lock(func.hashtextextended(family, 0))
    await connection.execute(select(seen, held).where(refresh_tokens.c.token_id == token_id))


async def revoke_family(connection: AsyncConnection, token_id: UUID) -> None:
    """Revoke every token that descends from the same log-in."""
    family = select(refresh_tokens.c.family).where(refresh_tokens.c.token_id == token_id).scalar_subquery()
    query = update(refresh_tokens).where(refresh_tokens.c.family == family, refresh_tokens.c.revoked_at.is_(None))
    await connection.execute(query.values(revoked_at=func.now()))
