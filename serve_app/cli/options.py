"""Options that several commands share, and what they mean."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.errors import InvalidInput
from pipelines.machines.family import Family, family_names, read_family

FamilyOption = Annotated[str, typer.Option("--family", help="Kind of machine: generic, rig or water-loop.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Parquet file, or a folder with one.", exists=True)]
SeedOption = Annotated[int, typer.Option(help="Same data, same seed: same models.")]
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
