"""Bodies and answers of `api/users` and `api/keys`; no answer holds a password, and one alone holds a key."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from serve_app.api.schemas.auth import Login, Password
from serve_app.api.schemas.base import Body, Reply, Text, example
from serve_app.store.records import Role, Scope

NewPassword = Annotated[
    Password, Field(description="At least 15 characters, none that many choose, without the user name")
]


class UserBody(Body):
    """A new account."""

    model_config = example(
        username="ann",
        email="ann@example.com",
        role="operator",
        password="some words that are no saying",  # noqa: S106 (an example)
    )

    username: Login
    email: Login = Field(description="May be used to log in, too")
    role: Role
    password: NewPassword


class UserChangeBody(Body):
    """What changes; what is left out stays."""

    model_config = example(role="engineer")

    role: Role | None = None
    active: bool | None = Field(default=None, strict=True, description="Whether the account may log in")


class PasswordBody(Body):
    """A new password of somebody else's account."""

    model_config = example(password="some words that are no saying")  # noqa: S106 (an example)

    password: NewPassword


class UserReply(Reply):
    """A person who may log in, or might."""

    user_id: int
    username: str
    email: str
    role: Role
    active: bool


class UsersReply(Reply):
    """One page of accounts in order of their id."""

    users: list[UserReply]
    next: int | None = Field(description="Send it as `after` for the next page; null on the last one")


class SessionReply(Reply):
    """What grew from one log-in and is not ended yet."""

    session_id: UUID
    begun_at: datetime
    used_at: datetime | None = Field(description="When it was refreshed last; null while it never was")
    expires_at: datetime = Field(description="When it ends unless it is refreshed before")


class SessionsReply(Reply):
    """All open sessions of an account, the newest first."""

    sessions: list[SessionReply]


class KeyBody(Body):
    """A new API key."""

    model_config = example(name="line 4", role="operator", scopes=["detect", "readings"])

    name: Text = Field(min_length=1, max_length=200, description="What it is for; the audit names it")
    role: Role
    scopes: list[Scope] | None = Field(
        default=None, min_length=1, max_length=20, description="What alone it may do; left out, all that its role may"
    )
    expires_at: AwareDatetime | None = Field(default=None, description="Left out, it holds until it is revoked")


class KeyReply(Reply):
    """An API key as it is listed; the key itself is kept nowhere."""

    key_id: int
    name: str
    prefix: str = Field(description="What the key begins with; empty for one that was made before this was kept")
    role: Role
    scopes: list[Scope] | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To two minutes; null while nobody has sent it")
    revoked_at: datetime | None


class MadeKeyReply(KeyReply):
    """A key that was just made."""

    key: str = Field(description="Told this once; send it in `X-API-Key`, or as the key of an OpenAI client")


class KeysReply(Reply):
    """One page of keys in order of their id, the revoked ones too."""

    keys: list[KeyReply]
    next: int | None = Field(description="Send it as `after` for the next page; null on the last one")
