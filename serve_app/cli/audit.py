"""`hdx audit`: who did what, to a tenant's things or to the models that all tenants share."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from serve_app.cli.progress import console
from serve_app.cli.users import with_store
from serve_app.store.records import Note

if TYPE_CHECKING:
    from serve_app.store.repository import Store

app = typer.Typer()


@app.command()
def audit(
    tenant: Annotated[str, typer.Option(help="Whose deeds.")] = "demo",
    platform: Annotated[bool, typer.Option("--platform", help="What was done to models, by the gates too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest notes to print.")] = 100,
) -> None:
    """Print the audit, the newest note first."""

    async def read(store: "Store") -> list[Note]:
        return await store.audit.newest(None if platform else await store.tenants.get(tenant), limit)

    table = Table("when", "who", "did", "to", "detail", box=None)
    for note in with_store(read):
        table.add_row(f"{note.created_at:%Y-%m-%d %H:%M:%S}", note.actor, note.action, note.subject, note.detail)
    console.print(table)
