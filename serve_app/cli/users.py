"""`hdx user`: people who may log in, and keys for programs."""

import asyncio
from typing import Annotated

import typer

from configs.settings import read_settings
from serve_app.cli.options import RoleOption, TenantOption
from serve_app.cli.progress import console

app = typer.Typer(no_args_is_help=True, help="People who may log in.")


@app.command("create")
def create_user(
    username: str,
    email: Annotated[str, typer.Option(help="May be used to log in, too.")],
    role: RoleOption = "operator",
    tenant: TenantOption = "demo",
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for when left out.")
    ] = "",
) -> None:
    """Create an account."""
    from serve_app.local.offline import open_store
    from serve_app.shared.credentials import hash_password

    async def create() -> None:
        async with open_store(read_settings()) as store:
            tenant_id = await store.tenants.ensure(tenant)
            await store.accounts.add(tenant_id, username, email, hash_password(password), role)

    asyncio.run(create())
    console.print(f"Created {role} {username} of tenant {tenant}.")


@app.command("key")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in the audit.")],
    role: RoleOption = "operator",
    tenant: TenantOption = "demo",
) -> None:
    """Make an API key and print it, this once; send it in `X-API-Key`, or as the key of an OpenAI client."""
    from serve_app.local.offline import open_store
    from serve_app.shared.credentials import digest, new_api_key

    key = new_api_key()

    async def create() -> None:
        async with open_store(read_settings()) as store:
            await store.keys.add(await store.tenants.ensure(tenant), name, role, digest(key))

    asyncio.run(create())
    print(key)
