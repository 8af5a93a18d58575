"""Options that several commands share, and what they mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from configs.settings import ENV_FILE, Settings, read_settings
from pipelines.errors import InvalidInput, NotFound, UnknownFamily
from pipelines.machines.family import Family, family_names, read_family
from serve_app.cli.progress import tell

if TYPE_CHECKING:
    from serve_app.store.repository import Store

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


def signing_settings(*, dry_run: bool = False) -> Settings:
    """Read the settings, with fresh secrets where none were made: a signature by a known one proves nothing.

    Args:
        dry_run: Nothing will be signed.
    """
    from serve_app.local.bootstrap import make_env

    settings = read_settings()
    if not dry_run and "HDX_SECRET_KEY" in settings.unset_secrets and make_env(ENV_FILE):
        tell(f"  wrote {ENV_FILE} with fresh secrets")
        return read_settings()
    return settings


def known_family(name: str, tenant: str = "") -> Family:
    """Return a shipped family, or one that a tenant has defined.

    Args:
        tenant: Whose; none where only shipped ones will do.

    Raises:
        InvalidInput: There is none of that name.
    """
    if name in family_names():
        return read_family(name)
    own = ""
    if tenant:
        from serve_app.cli.users import with_store
        from serve_app.families import Families

        async def find(store: "Store") -> Family:
            return await Families(store).of(await store.tenants.get(tenant), name)

        try:
            return with_store(find)
        except (UnknownFamily, NotFound):
            own = f", or one of tenant {tenant}'s own"
    raise InvalidInput("family", name, f"must be one of {', '.join(family_names())}{own}")


@contextmanager
def recordings(
    family: Family, data: Path | None, channel: Sequence[str] | None, zone: str, dry_run: bool
) -> Iterator[Path | None]:
    """Give recordings as a family has them, and tell how they were read; None where there are none.

    Raises:
        InvalidInput: The file cannot be read, or holds no channel of the family.
    """
    from pipelines.datasets.exports import opened
    from pipelines.datasets.mapping import Wanted

    if data is None:
        yield None
        return
    with opened(family, data, Wanted.of(channel or (), zone), tell, dry_run=dry_run, windows=True) as read:
        yield read.path
