"""Settings of the provider that people may log in by."""

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Oidc(BaseModel):
    """A provider of OpenID Connect; log-in by it is off while no issuer is named.

    Attributes:
        issuer: The provider's address, as its tokens name it; https, or http where it is on this machine.
        client_id: As HDX is registered there.
        client_secret: Of a confidential client; a public one has none, and proves itself by PKCE alone.
        scopes: What is asked for, with blanks between; `openid` among them.
        redirect_uri: Address of `/api/auth/oidc/callback/` as registered there; empty, by each request's own host.

    Source: OpenID Connect Core 1.0, 3.1.2.1, and Discovery 1.0, 3: an issuer is https without query and fragment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = ""
    client_id: str = ""
    client_secret: SecretStr | None = None
    scopes: str = Field("openid", pattern=r"(^| )openid( |$)")
    redirect_uri: str = ""

    @model_validator(mode="after")
    def _can_be_asked(self) -> "Oidc":
        if self.issuer and not self.client_id:
            raise ValueError("issuer: set HDX_OIDC__CLIENT_ID")
        for name, address in (("issuer", self.issuer), ("redirect_uri", self.redirect_uri)):
            if address and not is_safe(address):
                raise ValueError(f"{name}: must be an https address, or http of this machine, without query")
        return self


def is_safe(address: str) -> bool:
    """Tell whether an address is https, or http of this very machine, and nothing but host and path."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    at_home = parts.scheme == "http" and host in LOOPBACK
    plain = address.isprintable() and not (" " in address or parts.query or parts.fragment or "@" in parts.netloc)
    return bool(host) and plain and (parts.scheme == "https" or at_home)
