"""The memory store's identities of providers, and its invitations."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pipelines.errors import Conflict, NotFound, Unauthenticated
from serve_app.store.invitations import REFUSED
from serve_app.store.records import COMMAND_LINE, Account
from serve_app.store.records_identities import Identity, Invitation, Newcomer

if TYPE_CHECKING:
    from tests.contract.memory_store import MemoryStore


class MemoryIdentities:
    def __init__(self, store: "MemoryStore") -> None:
        self._store = store
        self.linked: dict[Identity, int] = {}

    async def account(self, identity: Identity) -> Account | None:
        user_id = self.linked.get(identity)
        return None if user_id is None else self._store.people[user_id]

    async def link(self, account: Account, identity: Identity, actor: str = COMMAND_LINE) -> None:
        await self._store.accounts.own(account.tenant_id, account.user_id)
        self.check(identity)
        self.linked[identity] = account.user_id
        told = f"{account.username}, {identity.subject} of {identity.issuer}"
        await self._store.audit.note(account.tenant_id, actor, "identity.linked", f"user {account.user_id}", told)

    def check(self, identity: Identity) -> None:
        if identity in self.linked:
            raise Conflict("subject", identity.subject, "must not be linked to an account already")

    async def unlink(self, account: Account, actor: str = COMMAND_LINE) -> int:
        now = await self._store.accounts.own(account.tenant_id, account.user_id)
        own = [identity for identity, user_id in self.linked.items() if user_id == account.user_id]
        if not own:
            raise NotFound("identity of user", now.username)
        for identity in own:
            del self.linked[identity]
        self._store.accounts._write(now, True)
        await self._store.audit.note(now.tenant_id, actor, "identity.unlinked", f"user {now.user_id}", now.username)
        return len(own)


class MemoryInvitations:
    def __init__(self, store: "MemoryStore") -> None:
        self._store = store
        self.kept: dict[bytes, Invitation] = {}

    async def add(self, tenant: str, sha256: bytes, lives: timedelta, actor: str = COMMAND_LINE) -> Invitation:
        if tenant in self._store.tenant_ids:
            raise Conflict("tenant", tenant)
        now = datetime.now(UTC)
        self.kept[sha256] = made = Invitation(len(self.kept) + 1, tenant, actor, now, now + lives)
        await self._store.audit.note(None, actor, "invitation.added", f"invitation {made.invitation_id}", tenant)
        return made

    async def page(self, after: int = 0, limit: int = 100) -> Sequence[Invitation]:
        return [each for each in self.kept.values() if each.invitation_id > after][:limit]

    async def revoke(self, invitation_id: int, actor: str = COMMAND_LINE) -> None:
        for sha256, each in self.kept.items():
            if each.invitation_id == invitation_id and await self.is_open(sha256):
                self.kept[sha256] = replace(each, revoked_at=datetime.now(UTC))
                name = f"invitation {invitation_id}"
                await self._store.audit.note(None, actor, "invitation.revoked", name, each.tenant)
                return
        raise NotFound("invitation", invitation_id)

    async def is_open(self, sha256: bytes) -> bool:
        found = self.kept.get(sha256)
        ended = found is None or found.redeemed_at or found.revoked_at
        return found is not None and not ended and found.expires_at > datetime.now(UTC)

    async def redeem(self, sha256: bytes, newcomer: Newcomer) -> Account:
        if not await self.is_open(sha256) or self.kept[sha256].tenant in self._store.tenant_ids:
            raise Unauthenticated(REFUSED)
        invitation = self.kept[sha256]
        for field, value in (("username", newcomer.username), ("email", newcomer.email)):
            if await self._store.accounts.by_login(value):
                raise Conflict(field, value)
        if newcomer.identity is not None:
            self._store.identities.check(newcomer.identity)
        tenant_id = await self._store.tenants.ensure(invitation.tenant)
        user_id, name = max(self._store.people, default=0) + 1, f"invitation {invitation.invitation_id}"
        account = Account(user_id, tenant_id, *newcomer[:3], "admin", True)
        self._store.people[user_id] = account
        who, told = f"user {user_id}", f"{account.username}, admin, by {name}"
        await self._store.audit.note(tenant_id, account.username, "user.added", who, told)
        if newcomer.identity is not None:
            await self._store.identities.link(account, newcomer.identity, account.username)
        self.kept[sha256] = replace(invitation, redeemed_at=datetime.now(UTC))
        told = f"tenant {tenant_id}, {invitation.tenant}"
        await self._store.audit.note(None, account.username, "invitation.redeemed", name, told)
        return account
