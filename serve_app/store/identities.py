"""Which account an identity of a provider opens."""

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import Conflict, NotFound
from serve_app.store.accounts import ACCOUNT, held, write
from serve_app.store.audit import note
from serve_app.store.database import Database, constraint
from serve_app.store.records import COMMAND_LINE, Account
from serve_app.store.records_identities import Identity
from serve_app.store.tables import users
from serve_app.store.tables_identities import identities


class Identities:
    """Links of identities to accounts; an identity opens one account, of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, identity: Identity) -> Account | None:
        """Return the account that an identity is linked to."""
        named = (identities.c.issuer == identity.issuer) & (identities.c.subject == identity.subject)
        async with self._database.transaction("hdx.identity", " ".join(identity)) as connection:
            user_id = (await connection.execute(select(identities.c.user_id).where(named))).scalar_one_or_none()
            if user_id is None:
                return None
            await connection.execute(select(func.set_config("hdx.user", str(user_id), True)))
            row = (await connection.execute(select(*ACCOUNT).where(users.c.user_id == user_id))).one_or_none()
        return Account(*row) if row else None

    async def link(self, account: Account, identity: Identity, actor: str = COMMAND_LINE) -> None:
        """Let an identity open an account.

        Raises:
            Conflict: It opens one already, of whatever tenant.
        """
        try:
            async with self._database.tenant(account.tenant_id) as connection:
                await held(connection, account.user_id, for_update=True)
                await link(connection, account, identity, actor)
        except IntegrityError as error:
            raise taken(error, identity) from None

    async def unlink(self, account: Account, actor: str = COMMAND_LINE) -> int:
        """Have no identity open an account any more, and end its sessions and access; return how many did.

        Raises:
            NotFound: None did.
        """
        async with self._database.tenant(account.tenant_id) as connection:
            now = await held(connection, account.user_id, for_update=True)
            own = delete(identities).where(identities.c.user_id == now.user_id)
            count = (await connection.execute(own)).rowcount
            if not count:
                raise NotFound("identity of user", now.username)
            await write(connection, now, True)
            await note(connection, now.tenant_id, actor, "identity.unlinked", f"user {now.user_id}", now.username)
        return count


async def link(connection: AsyncConnection, account: Account, identity: Identity, actor: str) -> None:
    """Link within a transaction of the account's tenant, with its note."""
    row = {"tenant_id": account.tenant_id, "user_id": account.user_id, **identity._asdict()}
    await connection.execute(insert(identities).values(row))
    told = f"{account.username}, {identity.subject} of {identity.issuer}"
    await note(connection, account.tenant_id, actor, "identity.linked", f"user {account.user_id}", told)


def taken(error: IntegrityError, identity: Identity) -> Exception:
    """Return the error of an identity that opens an account already; any other as it was."""
    if constraint(error) != "identities_pkey":
        return error
    return Conflict("subject", identity.subject, "must not be linked to an account already")
