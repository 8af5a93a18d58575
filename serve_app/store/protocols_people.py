"""What routes ask of the store about companies, people, their sessions, and keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from serve_app.store.records import COMMAND_LINE, Account, ApiKey, Principal, Role, Scope, Session
from serve_app.store.records_identities import Identity, Invitation, Newcomer


class TenantStore(Protocol):
    """The companies whose rows are kept apart."""

    async def ensure(self, name: str) -> int:
        """Return the tenant of that name, made when absent."""
        ...


class AccountStore(Protocol):
    """People who may log in."""

    async def by_login(self, login: str) -> Account | None:
        """Return the account of a user name or an e-mail address, whatever their case."""
        ...

    async def folded(self, login: str) -> str:
        """Return what all spellings of a log-in have in common."""
        ...

    async def get(self, user_id: int) -> Account | None:
        """Return an account."""
        ...

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> Sequence[Account]:
        """Return a page of a tenant's accounts in the order of their ids, the disabled ones too."""
        ...

    async def own(self, tenant_id: int, user_id: int) -> Account:
        """Return an account of a tenant."""
        ...

    async def add(
        self, tenant_id: int, username: str, email: str, password_hash: str, role: Role, actor: str = COMMAND_LINE
    ) -> Account:
        """Add an account."""
        ...

    async def set_active(self, account: Account, active: bool, actor: str = COMMAND_LINE) -> None:
        """Let an account log in, or end its sessions and its access."""
        ...

    async def change(
        self,
        tenant_id: int,
        user_id: int,
        actor: str = COMMAND_LINE,
        role: Role | None = None,
        active: bool | None = None,
    ) -> Account:
        """Change what is given; another role, and being disabled, end the account's sessions and its access."""
        ...

    async def set_password(
        self, account: Account, password_hash: str, actor: str = COMMAND_LINE, checked: bool = False
    ) -> Account:
        """Change a password, which ends the account's sessions and access too."""
        ...

    async def end_sessions(self, tenant_id: int, user_id: int, actor: str = COMMAND_LINE) -> None:
        """End all of an account's sessions, and its access; it may log in again."""
        ...

    async def withdrawn(self, seconds: float) -> Mapping[int, int]:
        """Return the accounts whose credentials were withdrawn of late, with their generation."""
        ...


class SessionStore(Protocol):
    """Families of refresh tokens."""

    async def start(self, user_id: int, family: UUID, token_id: UUID, expires_at: datetime, address: str = "") -> None:
        """Begin a family: its account has logged in, from an address."""
        ...

    async def rotate(self, token_id: UUID, new_id: UUID, expires_at: datetime) -> tuple[int, UUID]:
        """Exchange a token for a new one; return its user and family."""
        ...

    async def end(self, token_id: UUID) -> None:
        """Revoke the token's whole family."""
        ...

    async def page(self, tenant_id: int, user_id: int) -> Sequence[Session]:
        """Return the open sessions of a tenant's account, the newest first."""
        ...

    async def end_one(self, tenant_id: int, user_id: int, session_id: UUID, actor: str = COMMAND_LINE) -> None:
        """End an open session of a tenant's account."""
        ...


class KeyStore(Protocol):
    """API keys."""

    async def principal(self, sha256: bytes) -> Principal | None:
        """Return whom a key stands for."""
        ...

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
        """Let a key stand for a tenant with a role."""
        ...

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> Sequence[ApiKey]:
        """Return a page of keys in the order of their ids, the revoked ones too."""
        ...

    async def revoke(self, tenant_id: int, key_id: int, actor: str = COMMAND_LINE) -> None:
        """End a key."""
        ...

    async def used(self, tenant_id: int, moments: Mapping[bytes, datetime]) -> None:
        """Keep when keys were used last, to a minute."""
        ...


class IdentityStore(Protocol):
    """Which account an identity of a provider opens."""

    async def account(self, identity: Identity) -> Account | None:
        """Return the account that an identity is linked to."""
        ...

    async def link(self, account: Account, identity: Identity, actor: str = COMMAND_LINE) -> None:
        """Let an identity open an account."""
        ...

    async def unlink(self, account: Account, actor: str = COMMAND_LINE) -> int:
        """Have no identity open an account any more, and end its sessions; return how many did."""
        ...


class InvitationStore(Protocol):
    """Rights to make a tenant, once each."""

    async def add(self, tenant: str, sha256: bytes, lives: timedelta, actor: str = COMMAND_LINE) -> Invitation:
        """Invite to make a tenant of a name."""
        ...

    async def page(self, after: int = 0, limit: int = 100) -> Sequence[Invitation]:
        """Return a page in the order of their ids, those that hold no longer too."""
        ...

    async def revoke(self, invitation_id: int, actor: str = COMMAND_LINE) -> None:
        """End an invitation."""
        ...

    async def is_open(self, sha256: bytes) -> bool:
        """Tell whether an invitation holds."""
        ...

    async def redeem(self, sha256: bytes, newcomer: Newcomer) -> Account:
        """Make the tenant with its administrator, and use the invitation up."""
        ...
