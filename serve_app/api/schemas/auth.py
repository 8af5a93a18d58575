"""Bodies and answers of `api/auth`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from serve_app.api.schemas.base import Body, Reply, Text, example, storable

# Source: RFC 5321, 4.5.3.1: an e-mail address has at most 254 characters; a user name may be one.
Login = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=254), AfterValidator(storable)]
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


class InvitationBody(Body):
    """An invitation, and who comes by it."""

    model_config = example(
        invitation="hdxi_...",
        username="ann",
        email="ann@example.com",
        password="some words that are no saying",  # noqa: S106 (an example)
    )

    invitation: Text = Field(min_length=1, max_length=200, description="As `hdx tenant invite` printed it")
    username: Login
    email: Login = Field(description="May be used to log in, too")
    password: Password | None = Field(
        default=None, description="As for any account; left out, you log in at the provider of OpenID Connect"
    )


class ProviderReply(Reply):
    """Where to go on."""

    location: str = Field(description="Of the provider; open it in the browser that has sent the request")


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
