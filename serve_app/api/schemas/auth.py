"""Bodies and answers of `api/auth`."""

from typing import Annotated, Literal

from pydantic import Field

from serve_app.api.schemas.base import Body, Reply, Text, example

Password = Annotated[Text, Field(min_length=1, max_length=1024)]


class LoginBody(Body):
    """User name or e-mail, and password."""

    model_config = example(username="admin", password="the one `hdx run` printed")  # noqa: S106 (an example)

    username: Text = Field(min_length=1, max_length=254)
    password: Password


class PasswordChangeBody(Body):
    """The password that holds, and the one that shall."""

    model_config = example(
        current_password="the one `hdx run` printed",  # noqa: S106 (an example)
        new_password="some words that are no saying",  # noqa: S106 (an example)
    )

    current_password: Password
    new_password: Password = Field(description="At least 15 characters, none that many choose, without the user name")


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


class PublicKey(Reply):
    """A key of Ed25519, by RFC 8037."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str = Field(description="The key, in base64url")
    kid: str = Field(description="As tokens name it in their header")
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class PublicKeysReply(Reply):
    """A JWK set, by RFC 7517."""

    keys: list[PublicKey]
