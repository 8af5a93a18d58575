"""`hdx commission`: what is normal for a system, shown, learned from stored windows, or forgotten."""

from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from serve_app.cli.options import ChannelOption, ZoneOption
from serve_app.cli.progress import console, tell
from serve_app.cli.users import with_store

if TYPE_CHECKING:
    from serve_app.store.repository import Store

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

app = typer.Typer()


@app.command()
def commission(
    system: Annotated[int, typer.Argument(min=1, help="Its number, as `GET /api/systems/` lists it.")],
    tenant: Annotated[str, typer.Option(help="Whose.")] = "demo",
    finish: Annotated[bool, typer.Option("--finish", help="End its commissioning with the windows stored.")] = False,
    begin: Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="Learn the windows since.")] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="Until; now when left out.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Forget what is normal, and begin anew.")] = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Learn from a CSV, Excel or Parquet file, between --from and --to.", exists=True),
    ] = None,
    channel: ChannelOption = None,
    zone: ZoneOption = "",
    machine: Annotated[str, typer.Option(help="Whose readings count, where the file has several machines.")] = "",
) -> None:
    """Show what is normal for a system, and how far it is from being known; or teach it, or forget it."""
    if finish + forget + (begin is not None or data is not None) > 1:
        raise typer.BadParameter("give one of --finish, --from, --data and --forget")
    if end is not None and begin is None and data is None:
        raise typer.BadParameter("--to needs --from")
    span = (None if begin is None else _in_zone(begin)), (None if end is None else _in_zone(end))

    async def work(store: "Store") -> dict[str, Any]:
        from pipelines.datasets.exports import windows_in
        from pipelines.datasets.mapping import Wanted
        from serve_app.commissioning import Commissioning
        from serve_app.families import Families

        commissioning, tenant_id = Commissioning(store), await store.tenants.get(tenant)
        if data is not None:
            family = await Families(store).of(tenant_id, (await store.systems.get(tenant_id, system)).family)
            windows = windows_in(family, data, Wanted.of(channel or (), zone, machine), tell, *span)
            await commissioning.teach(tenant_id, system, windows, data.name, getuser())
        elif finish:
            await commissioning.finish(tenant_id, await store.systems.get(tenant_id, system), getuser())
        elif span[0] is not None:
            await commissioning.learn(tenant_id, system, span[0], span[1] or datetime.now(UTC), getuser())
        elif forget:
            await store.systems.forget(tenant_id, system, getuser())
        return await commissioning.show(tenant_id, system)

    console.print(baseline_table(with_store(work)))


def _in_zone(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def baseline_table(shown: dict[str, Any]) -> Group:
    """Return what is normal for a system as people read it."""
    count = f"{shown['windows']} of {shown['needed']} windows" if shown["state"] == "commissioning" else ""
    learned = f"commissioned from {shown['windows']} windows, {shown['left_out']} of them left out"
    told = count or (learned if shown["operating_points"] else "nobody knows yet what is normal for it")
    table = Table("operating point", "windows", "channel", "normal", "when learned", "scatter", "unit", box=None)
    for point in shown["operating_points"]:
        for name, level in point["channels"].items():
            given = (level[word] for word in ("level", "learned", "scatter"))
            numbers = ["" if number is None else f"{number:.4g}" for number in given]
            table.add_row(str(point["number"]), f"{point['windows']:.0f}", name, *numbers, level["unit"])
    head = f"system {shown['system_id']}: {shown['state']}, {told}"
    return Group(head, *shown["notes"], table if shown["operating_points"] else "")
