"""`hdx user`: people who may log in, keys for programs, and how either is withdrawn; each deed is in the audit."""

import asyncio
from collections.abc import Awaitable, Callable
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from configs.settings import read_settings
from pipelines.errors import InvalidInput, NotFound
from serve_app.cli.options import RoleOption, TenantOption
from serve_app.cli.progress import console
from serve_app.store.records import Account, ApiKey

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
    """Create an account."""
    from serve_app.shared.credentials import hash_password

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
) -> None:
    """Make an API key and print it, this once; send it in `X-API-Key`, or as the key of an OpenAI client."""
    from serve_app.shared.credentials import digest, new_api_key

    key = new_api_key()

    async def create(store: "Store") -> None:
        await store.keys.add(await store.tenants.ensure(tenant), name, role, digest(key), getuser())

    with_store(create)
    print(key)


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

    async def change(store: "Store") -> None:
        await store.accounts.set_password(await account_of(store, login), hash_password(password), getuser())

    with_store(change)
    console.print(f"Changed the password of {login}.")


@app.command("keys")
def list_keys(tenant: OwnerOption = "demo") -> None:
    """List a tenant's API keys; the keys themselves are kept nowhere."""

    async def read(store: "Store") -> list[ApiKey]:
        return await keys_of(store, await store.tenants.get(tenant))

    table = Table("id", "name", "role", "made", "revoked", box=None)
    for key in with_store(read):
        ended = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
        table.add_row(str(key.key_id), key.name, key.role, f"{key.created_at:%Y-%m-%d %H:%M}", ended)
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
