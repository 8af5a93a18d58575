"""Tenants and the people who log in: the look-ups made before a tenant is known, and the accounts of each tenant."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from pipelines.errors import Conflict, HdxError, InvalidInput, NotFound
from serve_app.store.audit import note
from serve_app.store.database import Database, constraint
from serve_app.store.records import COMMAND_LINE, Account, Role
from serve_app.store.tables import refresh_tokens, tenants, users

ACCOUNT = tuple(users.c[name] for name in Account.__dataclass_fields__)


class Tenants:
    """The companies whose rows are kept apart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, name: str) -> int:
        """Return the tenant of that name, made when absent."""
        query = upsert(tenants).values(name=name)
        # An update that changes nothing, since `DO NOTHING` returns no row.
        query = query.on_conflict_do_update(index_elements=[tenants.c.name], set_={"name": query.excluded.name})
        async with self._database.transaction("hdx.tenant_name", name) as connection:
            tenant_id: int = (await connection.execute(query.returning(tenants.c.tenant_id))).scalar_one()
        return tenant_id

    async def get(self, name: str) -> int:
        """Return the id of the tenant of that name.

        Raises:
            NotFound: There is none.
        """
        query = select(tenants.c.tenant_id).where(tenants.c.name == name)
        async with self._database.transaction("hdx.tenant_name", name) as connection:
            tenant_id: int | None = (await connection.execute(query)).scalar_one_or_none()
        if tenant_id is None:
            raise NotFound("tenant", name)
        return tenant_id


class Accounts:
    """People who may log in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_login(self, login: str) -> Account | None:
        """Return the account of a user name or an e-mail address, whatever their case."""
        wanted = login.strip()
        same = func.lower(wanted)
        query = select(*ACCOUNT).where(or_(func.lower(users.c.username) == same, func.lower(users.c.email) == same))
        async with self._database.transaction("hdx.tenant", "") as connection:
            # Lowered by the server, as its unique indexes are: its locale and Python's may differ.
            await connection.execute(select(func.set_config("hdx.login", same, True)))
            row = (await connection.execute(query)).one_or_none()
        return Account(*row) if row else None

    async def folded(self, login: str) -> str:
        """Return what all spellings of a log-in have in common, to the server's mind."""
        async with self._database.tenant(0) as connection:
            name: str = (await connection.execute(select(func.lower(login.strip())))).scalar_one()
        return name

    async def get(self, user_id: int) -> Account | None:
        """Return an account."""
        async with self._database.transaction("hdx.user", str(user_id)) as connection:
            row = (await connection.execute(select(*ACCOUNT).where(users.c.user_id == user_id))).one_or_none()
        return Account(*row) if row else None

    async def add(
        self,
        tenant_id: int,
        username: str,
        email: str,
        password_hash: str,
        role: Role,
        actor: str = COMMAND_LINE,
    ) -> Account:
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
            async with self._database.tenant(tenant_id) as connection:
                made = Account(*(await connection.execute(insert(users).values(row).returning(*ACCOUNT))).one())
                await note(connection, tenant_id, actor, "user.added", f"user {made.user_id}", f"{username}, {role}")
                return made
        except IntegrityError as error:
            raise refusals.get(constraint(error), NotFound("tenant", tenant_id)) from None

    async def set_active(self, account: Account, active: bool, actor: str = COMMAND_LINE) -> None:
        """Let an account log in, or end its sessions and its access."""
        action = "user.enabled" if active else "user.disabled"
        await self._change(account, action, actor, withdrawn=not active, active=active)

    async def set_password(self, account: Account, password_hash: str, actor: str = COMMAND_LINE) -> None:
        """Change a password, which ends the account's sessions and access too."""
        await self._change(account, "user.password", actor, withdrawn=True, password_hash=password_hash)

    async def _change(self, account: Account, action: str, actor: str, withdrawn: bool, **changes: Any) -> None:
        if withdrawn:
            changes |= {"generation": users.c.generation + 1, "withdrawn_at": func.now()}
        async with self._database.tenant(account.tenant_id) as connection:
            await connection.execute(update(users).where(users.c.user_id == account.user_id).values(changes))
            if withdrawn:
                await connection.execute(select(func.set_config("hdx.user", str(account.user_id), True)))
                own = update(refresh_tokens).where(refresh_tokens.c.user_id == account.user_id)
                await connection.execute(own.where(refresh_tokens.c.revoked_at.is_(None)).values(revoked_at=func.now()))
            await note(connection, account.tenant_id, actor, action, f"user {account.user_id}", account.username)

    async def withdrawn(self, seconds: float) -> dict[int, int]:
        """Return the accounts, of all tenants, whose credentials were withdrawn of late, with their generation."""
        query = select(users.c.user_id, users.c.generation)
        query = query.where(users.c.withdrawn_at > func.now() - timedelta(seconds=seconds))
        async with self._database.transaction("hdx.withdrawn", "all") as connection:
            return {row.user_id: row.generation for row in await connection.execute(query)}
