"""`hdx tenant`: invitations, by each of which a tenant is made with its first administrator."""

from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from serve_app.cli.progress import console
from serve_app.cli.users import moment, with_store

if TYPE_CHECKING:
    from serve_app.store.records_identities import Invitation
    from serve_app.store.repository import Store

app = typer.Typer(no_args_is_help=True, help="Invites companies, each to make a tenant of its own.")


@app.command()
def invite(name: Annotated[str, typer.Argument(help="Of the tenant that will be made.")]) -> None:
    """Print an invitation, this once; it makes one tenant within seven days, by `POST /api/auth/invitations/`."""
    from serve_app.shared.credentials import INVITATION_LIVES, digest, new_invitation

    token = new_invitation()

    async def add(store: "Store") -> "Invitation":
        return await store.invitations.add(name, digest(token), INVITATION_LIVES, getuser())

    made = with_store(add)
    print(token)
    console.print(f"Invitation {made.invitation_id} makes tenant {name} until {moment(made.expires_at)} UTC.")


@app.command("invitations")
def list_invitations() -> None:
    """List invitations, those that hold no longer too; what proves them is kept nowhere."""

    async def read(store: "Store") -> "list[Invitation]":
        found: list[Invitation] = []
        while page := await store.invitations.page(found[-1].invitation_id if found else 0):
            found += page
        return found

    table = Table("id", "tenant", "by", "made", "ends", "", box=None)
    for each in with_store(read):
        moments = moment(each.created_at), moment(each.expires_at)
        table.add_row(str(each.invitation_id), each.tenant, each.actor, *moments, _state(each))
    console.print(table)


@app.command()
def revoke(invitation: Annotated[int, typer.Argument(help="Its id, as `hdx tenant invitations` lists it.")]) -> None:
    """End an invitation at once; a tenant that it has made stays."""

    async def end(store: "Store") -> None:
        await store.invitations.revoke(invitation, getuser())

    with_store(end)
    console.print(f"Revoked invitation {invitation}.")


def _state(invitation: "Invitation") -> str:
    if invitation.redeemed_at:
        return f"redeemed {moment(invitation.redeemed_at)}"
    if invitation.revoked_at:
        return f"revoked {moment(invitation.revoked_at)}"
    return "open" if invitation.expires_at > datetime.now(UTC) else "past its end"
