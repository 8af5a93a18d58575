"""What the store keeps of identities that a provider vouches for, and of invitations."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class Identity(NamedTuple):
    """Whom a provider of OpenID Connect has logged in; no e-mail and no name of anybody's choice is part of it.

    Attributes:
        issuer: The provider's address.
        subject: Its own name for the person, never given to another.
    """

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """A right to make a tenant, once; what proves it is kept nowhere.

    Attributes:
        tenant: The name that the tenant will have.
        actor: Who gave it.
    """

    invitation_id: int
    tenant: str
    actor: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    redeemed_at: datetime | None = None


class Newcomer(NamedTuple):
    """The first administrator of a tenant that is made by an invitation.

    Attributes:
        password_hash: Of a password that nobody knows, where an identity is what logs in.
        identity: What logs in; None where a password does.
    """

    username: str
    email: str
    password_hash: str
    identity: Identity | None = None
