"""`hdx user`: people who may log in, keys for programs, and how either is withdrawn; each deed is in the audit."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, TypeVar, get_args
from uuid import UUID

import typer
from rich.table import Table

from configs.settings import read_settings
from pipelines.errors import InvalidInput, NotFound
from serve_app.cli.options import RoleOption, TenantOption
from serve_app.cli.progress import console
from serve_app.store.records import Account, ApiKey, Role, Scope, Session

if TYPE_CHECKING:
    from serve_app.store.repository import Store

LoginArgument = Annotated[str, typer.Argument(help="User name or e-mail.")]
PasswordOption = Annotated[
    str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for when left out.")
]
OwnerOption = Annotated[str, typer.Option("--tenant", help="Whose.")]
Reply = TypeVar("Reply")

app = typer.Typer(no_args_is_help=True, help="People who may log in; `hdx user password` sets a lost password anew.")


@app.command("create")
def create_user(
    username: str,
    email: Annotated[str, typer.Option(help="May be used to log in, too.")],
    role: RoleOption = "operator",
    tenant: TenantOption = "demo",
    password: PasswordOption = "",
) -> None:
    """Create an account; a password has 15 characters or more, and is none that many choose."""
    from serve_app.shared.credentials import hash_password
    from serve_app.shared.passwords import check_password

    check_password(password, username)

    async def create(store: "Store") -> None:
        tenant_id = await store.tenants.ensure(tenant)
        await store.accounts.add(tenant_id, username, email, hash_password(password), role, getuser())

    with_store(create)
    console.print(f"Created {role} {username} of tenant {tenant}.")


@app.command("key")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in the audit.")],
    role: RoleOption = "operator",
    tenant: TenantOption = "demo",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What alone it may do, of {', '.join(get_args(Scope))}; repeat it. Left out: all its role may."
        ),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="How long it holds; left out, until it is revoked.")] = None,
) -> None:
    """Make an API key and print it, this once; send it in `X-API-Key`, or as the key of an OpenAI client."""
    from serve_app.shared.credentials import SHOWN, check_end, digest, new_api_key

    key, scopes = new_api_key(), scopes_of(scope)
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=min(days, 10**5))
    check_end(expires_at)

    async def create(store: "Store") -> None:
        tenant_id = await store.tenants.ensure(tenant)
        await store.keys.add(tenant_id, name, role, digest(key), getuser(), key[:SHOWN], scopes, expires_at)

    with_store(create)
    print(key)


@app.command("list")
def list_users(tenant: OwnerOption = "demo") -> None:
    """List a tenant's accounts, the disabled ones too."""

    async def read(store: "Store") -> list[Account]:
        tenant_id = await store.tenants.get(tenant)
        found: list[Account] = []
        while page := await store.accounts.page(tenant_id, found[-1].user_id if found else 0):
            found += page
        return found

    table = Table("id", "name", "e-mail", "role", "", box=None)
    for each in with_store(read):
        table.add_row(str(each.user_id), each.username, each.email, each.role, "" if each.active else "disabled")
    console.print(table)


@app.command("role")
def set_role(login: LoginArgument, role: Annotated[Role, typer.Argument(help="The new one.")]) -> None:
    """Give a person another role; sessions and access of before end within seconds."""

    async def change(store: "Store") -> None:
        account = await account_of(store, login)
        await store.accounts.change(account.tenant_id, account.user_id, getuser(), role=role)

    with_store(change)
    console.print(f"{login} is {role}.")


@app.command("sessions")
def sessions(
    login: LoginArgument,
    end: Annotated[str, typer.Option(help="End the session of this id, or `all` of them.")] = "",
) -> None:
    """List a person's open sessions, the newest first, or end them; ending all ends access within seconds, too."""

    async def work(store: "Store") -> list[Session]:
        account = await account_of(store, login)
        own = account.tenant_id, account.user_id
        if end == "all":
            await store.accounts.end_sessions(*own, getuser())
        elif end:
            await store.sessions.end_one(*own, session_id_of(end), getuser())
        return await store.sessions.page(*own)

    table = Table("id", "begun", "refreshed", "ends", box=None)
    for each in with_store(work):
        table.add_row(str(each.session_id), moment(each.begun_at), moment(each.used_at), moment(each.expires_at))
    console.print(table)


@app.command("disable")
def disable(login: LoginArgument) -> None:
    """End a person's sessions and access, within seconds, until enabled again; API keys are a tenant's and stay."""

    async def end(store: "Store") -> None:
        await store.accounts.set_active(await account_of(store, login), False, getuser())

    with_store(end)
    console.print(f"Disabled {login}.")


@app.command("enable")
def enable(login: LoginArgument) -> None:
    """Let a person log in again."""

    async def let_in(store: "Store") -> None:
        await store.accounts.set_active(await account_of(store, login), True, getuser())

    with_store(let_in)
    console.print(f"Enabled {login}.")


@app.command("password")
def set_password(login: LoginArgument, password: PasswordOption = "") -> None:
    """Set a new password, a lost administrator's too, and end the person's sessions."""
    from serve_app.shared.credentials import hash_password
    from serve_app.shared.passwords import check_password

    async def change(store: "Store") -> None:
        account = await account_of(store, login)
        check_password(password, account.username)
        await store.accounts.set_password(account, hash_password(password), getuser())

    with_store(change)
    console.print(f"Changed the password of {login}.")


@app.command("link")
def link_identity(
    login: LoginArgument,
    subject: Annotated[str, typer.Option(help="The provider's own name for the person, `sub` of its tokens.")],
    issuer: Annotated[str, typer.Option(help="The provider; left out, that of HDX_OIDC__ISSUER.")] = "",
) -> None:
    """Let a person log in by a provider of OpenID Connect, too."""
    from serve_app.store.records_identities import Identity

    identity = Identity(issuer or read_settings().oidc.issuer, subject)
    if not identity.issuer:
        raise InvalidInput("issuer", "", "must be given, or set as HDX_OIDC__ISSUER")

    async def link(store: "Store") -> None:
        await store.identities.link(await account_of(store, login), identity, getuser())

    with_store(link)
    console.print(f"Linked {login} to {identity.subject} of {identity.issuer}.")


@app.command("unlink")
def unlink_identities(login: LoginArgument) -> None:
    """Let a person log in by no provider any more; sessions and access of before end within seconds."""

    async def unlink(store: "Store") -> int:
        return await store.identities.unlink(await account_of(store, login), getuser())

    console.print(f"Unlinked {with_store(unlink)} of {login}.")


@app.command("keys")
def list_keys(tenant: OwnerOption = "demo") -> None:
    """List a tenant's API keys; the keys themselves are kept nowhere."""

    async def read(store: "Store") -> list[ApiKey]:
        return await keys_of(store, await store.tenants.get(tenant))

    table = Table("id", "name", "begins", "role", "scopes", "made", "ends", "last used", "revoked", box=None)
    for key in with_store(read):
        rights = key.role, "all" if key.scopes is None else " ".join(key.scopes)
        moments = key.created_at, key.expires_at, key.last_used_at, key.revoked_at
        table.add_row(str(key.key_id), key.name, key.prefix, *rights, *map(moment, moments))
    console.print(table)


@app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Its id or its name, as `hdx user keys` lists them.")],
    tenant: OwnerOption = "demo",
) -> None:
    """End an API key at once."""

    async def end(store: "Store") -> ApiKey:
        tenant_id = await store.tenants.get(tenant)
        found = named(key, await keys_of(store, tenant_id))
        await store.keys.revoke(tenant_id, found.key_id, getuser())
        return found

    ended = with_store(end)
    console.print(f"Revoked key {ended.key_id}, {ended.name}.")


def with_store(work: Callable[["Store"], Awaitable[Reply]]) -> Reply:
    """Do some work on the store of the settings."""
    from serve_app.local.offline import open_store

    async def opened() -> Reply:
        async with open_store(read_settings()) as store:
            return await work(store)

    return asyncio.run(opened())


async def account_of(store: "Store", login: str) -> Account:
    """Return an account.

    Raises:
        NotFound: Nobody logs in by that name.
    """
    account = await store.accounts.by_login(login)
    if account is None:
        raise NotFound("user", login)
    return account


async def keys_of(store: "Store", tenant_id: int) -> list[ApiKey]:
    """Return all keys of a tenant."""
    keys: list[ApiKey] = []
    while page := await store.keys.page(tenant_id, keys[-1].key_id if keys else 0):
        keys += page
    return keys


def named(key: str, keys: list[ApiKey]) -> ApiKey:
    """Return the key that is not revoked and has this id or name.

    Raises:
        NotFound: There is none.
        InvalidInput: The name is that of several.
    """
    found = [each for each in keys if each.revoked_at is None and key in (str(each.key_id), each.name)]
    if not found:
        raise NotFound("key", key)
    if len(found) > 1:
        raise InvalidInput("key", key, f"give an id, one of {', '.join(str(each.key_id) for each in found)}")
    return found[0]


def scopes_of(given: list[str] | None) -> tuple[Scope, ...] | None:
    """Return the scopes of a new key; None where it may do all that its role may.

    Raises:
        InvalidInput: One is none that there is.
    """
    for name in given or ():
        if name not in get_args(Scope):
            raise InvalidInput("scope", name, f"must be one of {', '.join(get_args(Scope))}")
    return tuple(scope for scope in get_args(Scope) if scope in given) if given else None


def session_id_of(given: str) -> UUID:
    """Return the id of a session.

    Raises:
        InvalidInput: It is none.
    """
    try:
        return UUID(given)
    except ValueError:
        raise InvalidInput("end", given, "must be `all`, or an id as `hdx user sessions` lists them") from None


def moment(at: datetime | None) -> str:
    """Return a moment as lists show it: to the minute, of UTC; nothing where there is none."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" if at else ""
