"""`hdx family`: machine kinds, those that are shipped and those that a tenant defines; each deed is in the audit."""

import json
from collections.abc import Sequence
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.table import Table

from configs.settings import Limits, read_settings
from pipelines.errors import InvalidInput
from pipelines.machines.family import family_names, read_family
from serve_app.cli.options import ChannelOption, DryRunOption, ZoneOption
from serve_app.cli.progress import console, tell
from serve_app.cli.users import OwnerOption, with_store
from serve_app.families import as_kept
from serve_app.store.records import StoredFamily

if TYPE_CHECKING:
    from serve_app.store.repository import Store

NameArgument = Annotated[str, typer.Argument(help="Its name, as systems bear it.")]
FileOption = Annotated[
    Path, typer.Option("--file", help="Definition as YAML or JSON: title, channels, window_s.", exists=True)
]

app = typer.Typer(no_args_is_help=True, help="Machine kinds: `show` prints what `new` and `change` read.")


@app.command("list")
def list_families(tenant: OwnerOption = "demo") -> None:
    """List the shipped families and a tenant's own."""

    async def read(store: "Store") -> list[StoredFamily]:
        tenant_id = await store.tenants.get(tenant)
        found: list[StoredFamily] = []
        while page := await store.families.page(tenant_id, found[-1].name if found else ""):
            found += page
        return found

    table = Table("name", "title", "channels", "version", "by", box=None)
    for name in family_names():
        family = read_family(name)
        table.add_row(name, family.title, str(len(family.channels)), "shipped", "")
    for each in with_store(read):
        definition = json.loads(each.definition)
        table.add_row(each.name, definition["title"], str(len(definition["channels"])), str(each.version), each.actor)
    console.print(table)


@app.command("show")
def show_family(
    name: NameArgument,
    version: Annotated[int | None, typer.Option(help="The newest when left out.")] = None,
    tenant: OwnerOption = "demo",
) -> None:
    """Print the definition of a family, of a shipped one as a copy of it would begin."""
    if name in family_names():
        print(yaml.safe_dump(_copied(name), allow_unicode=True, sort_keys=False), end="")
        return

    async def read(store: "Store") -> StoredFamily:
        return await store.families.get(await store.tenants.get(tenant), name, version)

    print(yaml.safe_dump(json.loads(with_store(read).definition), allow_unicode=True, sort_keys=False), end="")


@app.command("new")
def new_family(
    name: NameArgument,
    file: Annotated[
        Path | None, typer.Option("--file", help="Definition as YAML or JSON: title, channels, window_s.", exists=True)
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="CSV, Excel or Parquet of readings to propose one from.", exists=True)
    ] = None,
    title: Annotated[str, typer.Option(help="One line for people; the name when left out.")] = "",
    channel: ChannelOption = None,
    zone: ZoneOption = "",
    dry_run: DryRunOption = False,
    tenant: OwnerOption = "demo",
) -> None:
    """Define a family, by its definition or from a file of readings; `--dry-run` prints what would be defined."""
    from pipelines.machines.definition import NAME, read_definition

    if name in family_names() or not NAME.match(name):
        raise InvalidInput("name", name, "must be small letters, digits and hyphens, and none of the shipped ones")
    if (file is None) == (source is None):
        raise typer.BadParameter("give one of --file and --from")
    limits = read_settings().limits
    if source is not None:
        text = _proposed(source, title or name, channel or (), zone, limits)
        print(text, end="")
    else:
        text = file.read_text(encoding="utf-8") if file is not None else ""
    definition = as_kept(read_definition(text), limits)
    if dry_run:
        return

    async def add(store: "Store") -> StoredFamily:
        return await store.families.add(await store.tenants.ensure(tenant), name, definition, getuser())

    with_store(add)
    console.print(f"Defined family {name}: POST /api/systems/ takes it now.")


@app.command("change")
def change_family(name: NameArgument, file: FileOption, tenant: OwnerOption = "demo") -> None:
    """Make a new version of a family; the service takes it within seconds."""
    from pipelines.machines.definition import read_definition

    definition = as_kept(read_definition(file.read_text(encoding="utf-8")), read_settings().limits)

    async def change(store: "Store") -> StoredFamily:
        return await store.families.change(await store.tenants.get(tenant), name, definition, getuser())

    console.print(f"Family {name} stands at version {with_store(change).version}.")


@app.command("remove")
def remove_family(name: NameArgument, tenant: OwnerOption = "demo") -> None:
    """Remove a family that no system is of."""

    async def remove(store: "Store") -> None:
        await store.families.remove(await store.tenants.get(tenant), name, getuser())

    with_store(remove)
    console.print(f"Removed family {name}.")


def _proposed(source: Path, title: str, channel: Sequence[str], zone: str, limits: Limits) -> str:
    """Return a definition from a file, as YAML, and tell on stderr how it was read and what is asked."""
    from pipelines.datasets.exports import proposed
    from pipelines.datasets.mapping import Wanted

    taken = limits.values_min, limits.values
    proposal, report, lines = proposed(source, title, Wanted.of(channel, zone), taken=taken)
    for line in (*report.lines(), *(f"  {line}" for line in lines)):
        tell(line)
    for line in proposal.asked:
        tell(f"  left out until you say it by --channel: {line}")
    return yaml.safe_dump(json.loads(proposal.definition.to_json()), allow_unicode=True, sort_keys=False)


def _copied(name: str) -> dict[str, object]:
    family = read_family(name)
    fields = {"unit", "low", "high", "typical", "spread", "relation", "rate_hz", "column"}
    channels = {
        channel: each.model_dump(include=fields) | {"required": not each.extra}
        for channel, each in family.channels.items()
    }
    return {"title": family.title, "window_s": family.window_s, "channels": channels}
