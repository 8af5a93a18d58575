"""Tenants and the people who log in: the look-ups made before a tenant is known, and the accounts of each tenant."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import Conflict, HdxError, InvalidInput, NotFound
from serve_app.store.audit import note
from serve_app.store.database import Database, constraint
from serve_app.store.records import COMMAND_LINE, Account, Role
from serve_app.store.tables import refresh_tokens, tenants, users

ACCOUNT = tuple(users.c[name] for name in Account.__dataclass_fields__)
LAST_ADMIN = "must leave the tenant an active administrator: make another one first"


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

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> list[Account]:
        """Return a page of a tenant's accounts in the order of their ids, the disabled ones too."""
        query = select(*ACCOUNT).where(users.c.user_id > after).order_by(users.c.user_id).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [Account(*row) for row in await connection.execute(query)]

    async def own(self, tenant_id: int, user_id: int) -> Account:
        """Return an account of a tenant.

        Raises:
            NotFound: There is none of this id in this tenant.
        """
        async with self._database.tenant(tenant_id) as connection:
            return await held(connection, user_id)

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
        try:
            async with self._database.tenant(tenant_id) as connection:
                made = Account(*(await connection.execute(insert(users).values(row).returning(*ACCOUNT))).one())
                await note(connection, tenant_id, actor, "user.added", f"user {made.user_id}", f"{username}, {role}")
                return made
        except IntegrityError as error:
            raise (refusal(error, username, email) or NotFound("tenant", tenant_id)) from None

    async def set_active(self, account: Account, active: bool, actor: str = COMMAND_LINE) -> None:
        """Let an account log in, or end its sessions and its access.

        Raises:
            Conflict: It is the last administrator that its tenant has.
        """
        await self.change(account.tenant_id, account.user_id, actor, active=active)

    async def change(
        self,
        tenant_id: int,
        user_id: int,
        actor: str = COMMAND_LINE,
        role: Role | None = None,
        active: bool | None = None,
    ) -> Account:
        """Change what is given; another role, and being disabled, end the account's sessions and its access.

        Raises:
            Conflict: It is the last administrator that its tenant has.
            NotFound: There is none of this id in this tenant.
        """
        async with self._database.tenant(tenant_id) as connection:
            admins = await _hold_admins(connection)
            account = await held(connection, user_id, for_update=True)
            given: dict[str, Any] = {"role": role, "active": active}
            changes = {
                name: value for name, value in given.items() if value is not None and value != getattr(account, name)
            }
            if not changes:
                return account
            if admins == [user_id]:
                field, value = next(iter(changes.items()))
                raise Conflict(field, value, LAST_ADMIN)
            changed = await write(connection, account, "role" in changes or active is False, **changes)
            for action, detail in _told(account, changes):
                await note(connection, tenant_id, actor, action, f"user {user_id}", detail)
            return changed

    async def set_password(
        self, account: Account, password_hash: str, actor: str = COMMAND_LINE, checked: bool = False
    ) -> Account:
        """Change a password, which ends the account's sessions and access too.

        Args:
            account: Whose.
            password_hash: Of the new one.
            actor: Who does it.
            checked: That the old one was, against this very account: then nothing may have changed since.

        Raises:
            Conflict: Its credentials were withdrawn since it was checked.
        """
        async with self._database.tenant(account.tenant_id) as connection:
            now = await held(connection, account.user_id, for_update=True)
            if checked and now.generation != account.generation:
                raise Conflict("account", account.username, "was changed meanwhile; log in again")
            changed = await write(connection, now, True, password_hash=password_hash)
            await note(connection, now.tenant_id, actor, "user.password", f"user {now.user_id}", now.username)
            return changed

    async def end_sessions(self, tenant_id: int, user_id: int, actor: str = COMMAND_LINE) -> None:
        """End all of an account's sessions, and its access; it may log in again.

        Raises:
            NotFound: There is none of this id in this tenant.
        """
        async with self._database.tenant(tenant_id) as connection:
            account = await held(connection, user_id, for_update=True)
            await write(connection, account, True)
            await note(connection, tenant_id, actor, "user.sessions.ended", f"user {user_id}", account.username)

    async def withdrawn(self, seconds: float) -> dict[int, int]:
        """Return the accounts, of all tenants, whose credentials were withdrawn of late, with their generation."""
        query = select(users.c.user_id, users.c.generation)
        query = query.where(users.c.withdrawn_at > func.now() - timedelta(seconds=seconds))
        async with self._database.transaction("hdx.withdrawn", "all") as connection:
            return {row.user_id: row.generation for row in await connection.execute(query)}


def refusal(error: IntegrityError, username: str, email: str) -> HdxError | None:
    """Return why a new account is refused; None where that is not for its names."""
    refusals: dict[str | None, HdxError] = {
        "users_username": Conflict("username", username),
        "users_email": Conflict("email", email),
        "users_username_form": InvalidInput("username", username, "may hold @ only as the account's own e-mail"),
        "users_email_form": InvalidInput("email", email, "must hold @"),
    }
    return refusals.get(constraint(error))


async def _hold_admins(connection: AsyncConnection) -> list[int]:
    """Return the tenant's active administrators; whoever else would change one waits, and counts anew."""
    query = select(users.c.user_id).where(users.c.role == "admin", users.c.active)
    return list((await connection.execute(query.order_by(users.c.user_id).with_for_update())).scalars())


async def held(connection: AsyncConnection, user_id: int, for_update: bool = False) -> Account:
    """Return an account of the transaction's tenant.

    Raises:
        NotFound: There is none of this id.
    """
    query = select(*ACCOUNT).where(users.c.user_id == user_id)
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    if row is None:
        raise NotFound("user", user_id)
    return Account(*row)


async def write(connection: AsyncConnection, account: Account, withdrawn: bool, **changes: Any) -> Account:
    """Change an account, and withdraw its credentials where that is asked for."""
    if withdrawn:
        changes |= {"generation": users.c.generation + 1, "withdrawn_at": func.now()}
    query = update(users).where(users.c.user_id == account.user_id).values(changes)
    changed = Account(*(await connection.execute(query.returning(*ACCOUNT))).one())
    if withdrawn:
        await connection.execute(select(func.set_config("hdx.user", str(account.user_id), True)))
        own = update(refresh_tokens).where(refresh_tokens.c.user_id == account.user_id)
        await connection.execute(own.where(refresh_tokens.c.revoked_at.is_(None)).values(revoked_at=func.now()))
    return changed


def _told(account: Account, changes: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the actions that changes are in the audit, each with its detail."""
    told = []
    if "role" in changes:
        told.append(("user.role", f"{account.username}, {account.role} to {changes['role']}"))
    if "active" in changes:
        told.append(("user.enabled" if changes["active"] else "user.disabled", account.username))
    return told
