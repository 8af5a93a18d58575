"""People, their sessions, and keys in memory: whom routes let in, without PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pipelines.errors import Conflict, NotFound, Unauthenticated
from serve_app.store.accounts import LAST_ADMIN
from serve_app.store.keys import LAST_USE_S, rights_of
from serve_app.store.records import COMMAND_LINE, Account, ApiKey, Principal, Role, Scope, Session

if TYPE_CHECKING:
    from tests.contract.memory_store import MemoryStore

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryTenants:
    def __init__(self, rows: "MemoryStore") -> None:
        self._rows = rows

    async def ensure(self, name: str) -> int:
        return self._rows.tenant_ids.setdefault(name, len(self._rows.tenant_ids) + 1)


class MemoryAccounts:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = self._store = store

    async def by_login(self, login: str) -> Account | None:
        wanted = login.strip().lower()
        return next((a for a in self._rows.people.values() if wanted in {a.username.lower(), a.email.lower()}), None)

    async def folded(self, login: str) -> str:
        return login.strip().lower()

    async def get(self, user_id: int) -> Account | None:
        return self._rows.people.get(user_id)

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> Sequence[Account]:
        kept = sorted(self._rows.people.values(), key=lambda account: account.user_id)
        return [a for a in kept if a.tenant_id == tenant_id and a.user_id > after][:limit]

    async def own(self, tenant_id: int, user_id: int) -> Account:
        account = self._rows.people.get(user_id)
        if account is None or account.tenant_id != tenant_id:
            raise NotFound("user", user_id)
        return account

    async def add(
        self, tenant_id: int, username: str, email: str, password_hash: str, role: Role, actor: str = COMMAND_LINE
    ) -> Account:
        for name, value in (("username", username), ("email", email)):
            if await self.by_login(value):
                raise Conflict(name, value)
        user_id = max(self._rows.people, default=0) + 1
        self._rows.people[user_id] = Account(user_id, tenant_id, username, email, password_hash, role, True)
        await self._store.audit.note(tenant_id, actor, "user.added", f"user {user_id}", f"{username}, {role}")
        return self._rows.people[user_id]

    async def set_active(self, account: Account, active: bool, actor: str = COMMAND_LINE) -> None:
        await self.change(account.tenant_id, account.user_id, actor, active=active)

    async def change(
        self,
        tenant_id: int,
        user_id: int,
        actor: str = COMMAND_LINE,
        role: Role | None = None,
        active: bool | None = None,
    ) -> Account:
        account = await self.own(tenant_id, user_id)
        role = None if role == account.role else role
        active = None if active == account.active else active
        if role is None and active is None:
            return account
        admins = [a for a in self._rows.people.values() if a.tenant_id == tenant_id and a.role == "admin" and a.active]
        if admins == [account]:
            raise Conflict("active" if role is None else "role", active if role is None else role, LAST_ADMIN)
        changes: dict[str, Any] = {"role": role, "active": active}
        given = {name: value for name, value in changes.items() if value is not None}
        changed = self._write(account, role is not None or active is False, **given)
        deeds = {"user.role": role, "user.enabled": active, "user.disabled": active is False}
        for action in [action for action, wanted in deeds.items() if wanted]:
            detail = f"{account.username}, {account.role} to {role}" if action == "user.role" else account.username
            await self._store.audit.note(tenant_id, actor, action, f"user {user_id}", detail)
        return changed

    async def set_password(
        self, account: Account, password_hash: str, actor: str = COMMAND_LINE, checked: bool = False
    ) -> Account:
        now = await self.own(account.tenant_id, account.user_id)
        if checked and now.generation != account.generation:
            raise Conflict("account", account.username, "was changed meanwhile; log in again")
        changed = self._write(now, True, password_hash=password_hash)
        await self._store.audit.note(now.tenant_id, actor, "user.password", f"user {now.user_id}", now.username)
        return changed

    async def end_sessions(self, tenant_id: int, user_id: int, actor: str = COMMAND_LINE) -> None:
        account = self._write(await self.own(tenant_id, user_id), True)
        await self._store.audit.note(tenant_id, actor, "user.sessions.ended", f"user {user_id}", account.username)

    def _write(self, account: Account, withdrawn: bool, **changes: Any) -> Account:
        if withdrawn:
            changes["generation"] = self._rows.withdrawn[account.user_id] = account.generation + 1
            self._rows.ended_families |= {
                family for user, family, _ in self._rows.tokens.values() if user == account.user_id
            }
        self._rows.people[account.user_id] = replace(account, **changes)
        return self._rows.people[account.user_id]

    async def withdrawn(self, seconds: float) -> Mapping[int, int]:
        return dict(self._rows.withdrawn)


class MemorySessions:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = self._store = store

    async def start(self, user_id: int, family: UUID, token_id: UUID, expires_at: datetime, address: str = "") -> None:
        self._rows.tokens[token_id] = (user_id, family, expires_at)
        self._rows.begun[family] = datetime.now(UTC)
        await self._note(user_id, "login", address)

    async def _note(self, user_id: int, action: str, detail: str) -> None:
        account = self._rows.people.get(user_id)
        if account is None:  # in PostgreSQL its sessions go with it
            return
        await self._store.audit.note(account.tenant_id, account.username, action, f"user {user_id}", detail)

    async def _revoke(self, user_id: int, family: UUID, action: str, detail: str) -> None:
        if family not in self._rows.ended_families:
            self._rows.ended_families.add(family)
            await self._note(user_id, action, detail)

    async def rotate(self, token_id: UUID, new_id: UUID, expires_at: datetime) -> tuple[int, UUID]:
        user_id, family, ends = self._rows.tokens[token_id]
        if family in self._rows.ended_families or token_id in self._rows.used or ends <= datetime.now(UTC):
            await self._revoke(user_id, family, "session.revoked", "a refresh token was used again")
            raise Unauthenticated("the refresh token was used before")
        self._rows.used[token_id] = datetime.now(UTC)
        self._rows.tokens[new_id] = (user_id, family, expires_at)
        return user_id, family

    async def end(self, token_id: UUID) -> None:
        await self._revoke(*self._rows.tokens[token_id][:2], "logout", "")

    async def page(self, tenant_id: int, user_id: int) -> Sequence[Session]:
        await self._store.accounts.own(tenant_id, user_id)
        families: dict[UUID, list[UUID]] = {}
        for token_id, (user, family, _) in self._rows.tokens.items():
            if user == user_id and family not in self._rows.ended_families:
                families.setdefault(family, []).append(token_id)
        found = []
        for family, tokens in families.items():
            used = max((self._rows.used[token] for token in tokens if token in self._rows.used), default=None)
            ends = max(self._rows.tokens[token][2] for token in tokens)
            if ends > datetime.now(UTC):
                found.append(Session(family, self._rows.begun[family], used, ends))
        return sorted(found, key=lambda session: session.begun_at, reverse=True)

    async def end_one(self, tenant_id: int, user_id: int, session_id: UUID, actor: str = COMMAND_LINE) -> None:
        account = await self._store.accounts.own(tenant_id, user_id)
        if session_id not in {session.session_id for session in await self.page(tenant_id, user_id)}:
            raise NotFound("session", session_id)
        self._rows.ended_families.add(session_id)
        await self._store.audit.note(tenant_id, actor, "user.session.ended", f"user {user_id}", account.username)


class MemoryKeys:
    def __init__(self, store: "MemoryStore") -> None:
        self._rows = self._store = store

    async def principal(self, sha256: bytes) -> Principal | None:
        ends = next((key.expires_at for _, kept, key in self._rows.listed_keys.values() if kept == sha256), None)
        return self._rows.principals.get(sha256) if ends is None or ends > datetime.now(UTC) else None

    async def add(
        self,
        tenant_id: int,
        name: str,
        role: Role,
        sha256: bytes,
        actor: str = COMMAND_LINE,
        prefix: str = "",
        scopes: tuple[Scope, ...] | None = None,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        if sha256 in self._rows.principals:
            raise Conflict("api_key", name)
        self._rows.principals[sha256] = Principal(tenant_id, None, name, role, scopes=scopes)
        key = ApiKey(len(self._rows.listed_keys) + 1, name, role, BEGAN, None, prefix, scopes, expires_at)
        self._rows.listed_keys[key.key_id] = (tenant_id, sha256, key)
        await self._store.audit.note(tenant_id, actor, "key.added", f"key {key.key_id}", rights_of(key))
        return key

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> Sequence[ApiKey]:
        kept = self._rows.listed_keys.values()
        return [key for tenant, _, key in kept if tenant == tenant_id and key.key_id > after][:limit]

    async def revoke(self, tenant_id: int, key_id: int, actor: str = COMMAND_LINE) -> None:
        tenant, sha256, key = self._rows.listed_keys.get(key_id, (0, b"", None))
        if key is None or tenant != tenant_id or key.revoked_at is not None:
            raise NotFound("key", key_id)
        self._rows.principals.pop(sha256)
        self._rows.listed_keys[key_id] = (tenant, sha256, replace(key, revoked_at=BEGAN))
        await self._store.audit.note(tenant_id, actor, "key.revoked", f"key {key_id}", key.name)

    async def used(self, tenant_id: int, moments: Mapping[bytes, datetime]) -> None:
        for key_id, (tenant, sha256, key) in self._rows.listed_keys.items():
            at = moments.get(sha256)
            if tenant != tenant_id or at is None:
                continue
            if key.last_used_at is None or key.last_used_at < at - timedelta(seconds=LAST_USE_S):
                self._rows.listed_keys[key_id] = (tenant, sha256, replace(key, last_used_at=at))
