"""Options that several commands share, and what they mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.errors import InvalidInput
from pipelines.machines.family import Family, family_names, read_family
from serve_app.cli.progress import tell

FamilyOption = Annotated[str, typer.Option("--family", help="Kind of machine: generic, rig or water-loop.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Parquet, CSV or Excel file, or a folder with a Parquet file.", exists=True),
]
SeedOption = Annotated[int, typer.Option(help="Same data, same seed: same models.")]
ChannelOption = Annotated[
    list[str] | None,
    typer.Option("--channel", help="Column of a channel where it is not found, as pressure='PT101 [bar]'; repeat it."),
]
ZoneOption = Annotated[str, typer.Option("--zone", help="Time zone of moments that name none, as Europe/Berlin.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say how the file is read.")]
RoleOption = Annotated[Literal["admin", "engineer", "operator", "viewer"], typer.Option("--role")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Made when absent.")]


def known_family(name: str) -> Family:
    """Return a family.

    Raises:
        InvalidInput: There is none of that name.
    """
    if name not in family_names():
        raise InvalidInput("family", name, f"must be one of {', '.join(family_names())}")
    return read_family(name)


@contextmanager
def recordings(
    family: Family, data: Path | None, channel: Sequence[str] | None, zone: str, dry_run: bool
) -> Iterator[Path | None]:
    """Give recordings as a family has them, and tell how they were read; None where there are none.

    Raises:
        InvalidInput: The file cannot be read, or holds no channel of the family.
    """
    from pipelines.datasets.exports import Wanted, opened

    if data is None:
        yield None
        return
    with opened(family, data, Wanted.of(channel or (), zone), tell, dry_run=dry_run, windows=True) as read:
        yield read.path
