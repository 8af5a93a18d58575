"""`hdx system`: the machines of a tenant, listed and added; `hdx commission` teaches what is normal for one."""

from getpass import getuser
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipelines.machines.family import name_of
from serve_app.cli.progress import console
from serve_app.cli.users import OwnerOption, with_store
from serve_app.store.records import System

if TYPE_CHECKING:
    from serve_app.store.repository import Store

app = typer.Typer(no_args_is_help=True, help="The machines of a tenant.")


@app.command("list")
def list_systems(tenant: OwnerOption = "demo") -> None:
    """List a tenant's systems: family, state, and whether each is in alarm."""

    async def read(store: "Store") -> list[System]:
        tenant_id = await store.tenants.get(tenant)
        found: list[System] = []
        while page := await store.systems.page(tenant_id, found[-1].system_id if found else 0):
            found += page
        return found

    from serve_app.commissioning import alarm_of

    table = Table("id", "name", "family", "state", "windows", "alarm", box=None)
    for each in with_store(read):
        raised = "alarm" if alarm_of(each)["raised"] else ""
        table.add_row(str(each.system_id), each.name, name_of(each.family), each.state, str(each.learned), raised)
    console.print(table)


@app.command("new")
def new_system(
    name: str,
    family: Annotated[str, typer.Option("--family", help="Kind of machine, shipped or one of your own.")] = "generic",
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", help="Unit of a shipped family's channel, as pressure=psi; repeat it."),
    ] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    tenant: OwnerOption = "demo",
) -> None:
    """Add a system and print its number; its commissioning begins."""
    from pipelines.machines.definition import in_units
    from serve_app.cli.options import known_family

    kind, said = known_family(family, tenant), tuple(each.partition("=")[::2] for each in unit or ())
    spoken = in_units(family, said).key if said else kind.name

    async def add(store: "Store") -> System:
        return await store.systems.add(await store.tenants.ensure(tenant), name, spoken, description, getuser())

    print(with_store(add).system_id)
