"""Invitations: whoever has one makes a tenant with its first administrator, once."""

from datetime import timedelta

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from pipelines.errors import Conflict, NotFound, Unauthenticated
from serve_app.store.accounts import ACCOUNT, refusal
from serve_app.store.audit import note, of
from serve_app.store.database import Database, constraint
from serve_app.store.identities import link, taken
from serve_app.store.records import COMMAND_LINE, Account
from serve_app.store.records_identities import Invitation, Newcomer
from serve_app.store.tables import tenants, users
from serve_app.store.tables_identities import invitations

INVITATION = tuple(invitations.c[name] for name in Invitation.__dataclass_fields__)
OPEN = (
    invitations.c.redeemed_at.is_(None),
    invitations.c.revoked_at.is_(None),
    invitations.c.expires_at > func.now(),
)
# The one answer to all that do not hold, so that nobody learns which there were.
REFUSED = "the invitation is unknown, used, revoked or past its end; ask whoever runs HDX for another one"


class Invitations:
    """Invitations of the platform, which no tenant sees; by what proves it, one is seen alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tenant: str, sha256: bytes, lives: timedelta, actor: str = COMMAND_LINE) -> Invitation:
        """Invite to make a tenant of a name.

        Raises:
            Conflict: There is one.
        """
        row = {"tenant": tenant, "sha256": sha256, "actor": actor, "expires_at": func.now() + lives}
        async with of(self._database, None) as connection:
            await _name(connection, tenant)
            if (await connection.execute(select(tenants.c.tenant_id).where(tenants.c.name == tenant))).first():
                raise Conflict("tenant", tenant)
            made = (await connection.execute(insert(invitations).values(row).returning(*INVITATION))).one()
            found = Invitation(*made)
            await note(connection, None, actor, "invitation.added", f"invitation {found.invitation_id}", tenant)
        return found

    async def page(self, after: int = 0, limit: int = 100) -> list[Invitation]:
        """Return a page in the order of their ids, those that hold no longer too."""
        number = invitations.c.invitation_id
        query = select(*INVITATION).where(number > after).order_by(number).limit(limit)
        async with of(self._database, None) as connection:
            return [Invitation(*row) for row in await connection.execute(query)]

    async def revoke(self, invitation_id: int, actor: str = COMMAND_LINE) -> None:
        """End an invitation.

        Raises:
            NotFound: There is none of this id that holds.
        """
        query = update(invitations).where(invitations.c.invitation_id == invitation_id, *OPEN)
        ended = query.values(revoked_at=func.now()).returning(invitations.c.tenant)
        async with of(self._database, None) as connection:
            tenant = (await connection.execute(ended)).scalar_one_or_none()
            if tenant is None:
                raise NotFound("invitation", invitation_id)
            await note(connection, None, actor, "invitation.revoked", f"invitation {invitation_id}", tenant)

    async def is_open(self, sha256: bytes) -> bool:
        """Tell whether an invitation holds."""
        query = select(invitations.c.invitation_id).where(invitations.c.sha256 == sha256, *OPEN)
        async with self._database.transaction("hdx.invitation", sha256.hex()) as connection:
            return (await connection.execute(query)).first() is not None

    async def redeem(self, sha256: bytes, newcomer: Newcomer) -> Account:
        """Make the tenant with its administrator, and use the invitation up: all of it, or nothing.

        Raises:
            Conflict: The user name, the e-mail address or the identity is taken; the invitation still holds.
            InvalidInput: A name could be taken for another account's; the invitation still holds.
            Unauthenticated: The invitation does not hold, or its tenant was made otherwise meanwhile.
        """
        query = update(invitations).where(invitations.c.sha256 == sha256, *OPEN)
        used = query.values(redeemed_at=func.now()).returning(invitations.c.invitation_id, invitations.c.tenant)
        try:
            async with self._database.transaction("hdx.invitation", sha256.hex()) as connection:
                row = (await connection.execute(used)).one_or_none()
                if row is None:
                    raise Unauthenticated(REFUSED)
                return await _make(connection, row.invitation_id, row.tenant, newcomer)
        except IntegrityError as error:
            if constraint(error) == "tenants_name_key":
                raise Unauthenticated(REFUSED) from None
            known = refusal(error, newcomer.username, newcomer.email)
            if known is None and newcomer.identity is not None:
                raise taken(error, newcomer.identity) from None
            raise known or error from None


async def _name(connection: AsyncConnection, tenant: str) -> None:
    await connection.execute(select(func.set_config("hdx.tenant_name", tenant, True)))


async def _make(connection: AsyncConnection, invitation_id: int, tenant: str, newcomer: Newcomer) -> Account:
    """Make tenant, account and link, with their notes in the tenant's audit and in the platform's."""
    await _name(connection, tenant)
    made = insert(tenants).values(name=tenant).returning(tenants.c.tenant_id)
    tenant_id = (await connection.execute(made)).scalar_one()
    seen = func.set_config("hdx.tenant", str(tenant_id), True), func.set_config("hdx.platform", "on", True)
    await connection.execute(select(*seen))
    row = {"tenant_id": tenant_id, "role": "admin", **newcomer._asdict()}
    del row["identity"]
    account = Account(*(await connection.execute(insert(users).values(row).returning(*ACCOUNT))).one())
    name, who = f"invitation {invitation_id}", f"user {account.user_id}"
    await note(connection, tenant_id, account.username, "user.added", who, f"{account.username}, admin, by {name}")
    if newcomer.identity is not None:
        await link(connection, account, newcomer.identity, account.username)
    await note(connection, None, account.username, "invitation.redeemed", name, f"tenant {tenant_id}, {tenant}")
    return account
