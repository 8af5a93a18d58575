"""Bodies and answers of `api/auth`."""

from typing import Literal

from pydantic import Field

from serve_app.api.schemas.base import Body, Reply, Text, example


class LoginBody(Body):
    """User name or e-mail, and password."""

    model_config = example(username="admin", password="the one `hdx run` printed")  # noqa: S106 (an example)

    username: Text = Field(min_length=1, max_length=254)
    password: Text = Field(min_length=1, max_length=1024)


class RefreshBody(Body):
    """The refresh token of the last log-in or refresh."""

    model_config = example(refresh="eyJhbGciOi...")

    refresh: Text = Field(min_length=1, max_length=4096)


class TokenReply(Reply):
    """A pair of tokens; the refresh token works once."""

    access: str
    refresh: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds until the access token expires")
