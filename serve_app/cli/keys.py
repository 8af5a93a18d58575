"""`hdx keys`: fresh secrets, and the generations of the keys that tokens are signed by."""

from getpass import getuser
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from configs.settings import new_secrets, read_settings
from serve_app.cli.progress import console
from serve_app.cli.users import moment, with_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.shared.token_keys import KeyRing
    from serve_app.store.protocols_token_keys import KeyGeneration
    from serve_app.store.repository import Store

app = typer.Typer(help="Prints fresh secrets; rotates and lists the keys that tokens are signed by.")


@app.callback(invoke_without_command=True)
def keys(context: typer.Context) -> None:
    """Print fresh secrets, ready for `.env`."""
    if context.invoked_subcommand is not None:
        return
    for name, value in new_secrets().items():
        print(f"{name}={value}")


@app.command()
def rotate() -> None:
    """Sign tokens with a new key from now on; nobody is logged out, and running replicas follow within seconds."""
    from serve_app.shared.token_keys import ACCESS, APART

    async def begin(store: "Store") -> "KeyGeneration":
        return await store.token_keys.rotate(APART, getuser())

    made = with_store(begin)
    console.print(f"Generation {made.number} signs; access tokens by key {_ring([made]).signer(ACCESS).kid}.")


@app.command("list")
def list_generations() -> None:
    """List the generations of keys that may hold; access tokens name their key, refresh tokens hold for long."""
    from serve_app.shared.token_keys import ACCESS, HELD, REFRESH

    async def read(store: "Store") -> "list[KeyGeneration]":
        return await store.token_keys.held(HELD)

    ring = _ring(with_store(read))
    table = Table("generation", "key", "since", "access until", "refresh until", box=None)
    for number, begun_at in ring.generations:
        access, own = ring.access[number], ring.own[number]
        is_former = access.former_since is not None
        ends = (moment(access.ends(ACCESS)), moment(own.ends(REFRESH))) if is_former else ("signs", "signs")
        table.add_row(str(number), access.kid, moment(begun_at), *ends)
    console.print(table)


def _ring(generations: "Sequence[KeyGeneration]") -> "KeyRing":
    from serve_app.shared.token_keys import KeyRing

    return KeyRing(read_settings().secret_key.get_secret_value().encode(), generations)
