"""`hdx score`: judges recordings offline with the champions of a family."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from configs.settings import Settings, read_settings
from pipelines.detectors.members import registry
from pipelines.errors import InvalidInput
from pipelines.promotion.mlflow_client import Registry, load_members
from serve_app.cli.options import ChannelOption, DryRunOption, ZoneOption, known_family
from serve_app.cli.progress import Step, bar, console, tell

if TYPE_CHECKING:
    from pipelines.detectors.bundle import Bundle
    from pipelines.machines.family import Family
    from pipelines.scoring.plan import Options
    from serve_app.store.repository import Store

app = typer.Typer()


@app.command()
def score(
    family: Annotated[str, typer.Option("--family", help="Kind of machine, shipped or one of your own.")],
    source: Annotated[Path, typer.Argument(exists=True, help="Parquet, CSV or Excel file, or a folder of Parquet.")],
    target: Annotated[
        Path | None, typer.Argument(help="Parquet file; a folder of them by --workers or from a folder.")
    ] = None,
    entity: Annotated[str, typer.Option(help="Column of the recording, for one row a sample.")] = "",
    order: Annotated[str, typer.Option(help="Column of the sample number in it.")] = "",
    settle: Annotated[int, typer.Option(min=0, help="First samples of each recording, used as baseline only.")] = 0,
    detectors: Annotated[str, typer.Option(help="Members by name, with commas; all when left out.")] = "",
    detail: Annotated[
        Literal["score", "components", "full"] | None,
        typer.Option(help="What is wanted beside the score; what names the anomaly when left out."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that Ray Data runs at once; 0: this process.")] = 0,
    channel: ChannelOption = None,
    zone: ZoneOption = "",
    dry_run: DryRunOption = False,
    tenant: Annotated[str, typer.Option(help="Whose family, where it is no shipped one.")] = "demo",
) -> None:
    """Score recordings offline with the very code that serves; what was killed goes on when it is run again."""
    from pipelines.datasets.exports import opened
    from pipelines.datasets.mapping import Wanted
    from pipelines.scoring.plan import Options
    from pipelines.scoring.score import names_anomaly
    from serve_app.local.offline import check_registry, open_registry

    settings, kind, wanted = read_settings(), known_family(family, tenant), members_of(detectors)
    if target is None and not dry_run:
        raise typer.BadParameter("give a target, or --dry-run")
    if not dry_run and not kind.definition:
        check_registry(settings)
    with opened(kind, source, Wanted.of(channel or (), zone), tell, entity, order, dry_run) as read:
        if target is None or dry_run:
            return
        if read.path != source and not settle and kind.reading != "raw":
            tell("  no --settle: nothing tells what is normal for this machine, and most detectors will abstain")
        options = Options.of(read.entity, read.order, settle, detail or names_anomaly(kind))
        if kind.definition:
            spoken, members = own_members(settings, kind, tenant)
            with bar() as step:
                rows = score_own(spoken, members, read.path, target, options, workers, step)
            console.print(f"{rows} rows -> {target}")
            return
        with open_registry(settings, console) as models, bar() as step:
            rows = score_file(models, kind, read.path, target, wanted, options, workers, step)
    console.print(f"{rows} rows -> {target}")


def members_of(words: str) -> list[str]:
    """Return the detectors that are named with commas, all when none is.

    Raises:
        InvalidInput: A name is unknown.
    """
    wanted = [word.strip() for word in words.split(",") if word.strip()] or list(registry())
    if unknown := set(wanted) - set(registry()):
        raise InvalidInput("detectors", sorted(unknown)[0], f"must be of {', '.join(registry())}")
    return wanted


def own_members(settings: Settings, family: "Family", tenant: str) -> "tuple[Family, Mapping[str, Bundle]]":
    """Return who judges a family that a tenant has defined, and the family with the components that they name.

    Raises:
        Unavailable: A champion does not load.
    """
    from pipelines.detectors.adaptive import Adaptive
    from pipelines.detectors.untrained import untrained
    from serve_app.cli.users import with_store
    from serve_app.local.bootstrap import answers
    from serve_app.shared.registry_access import access_of
    from serve_app.training import members_of_own

    if not answers(f"{settings.tracking_url}/health"):
        tell("  no registry answers: what needs no training judges alone")
        return family, {Adaptive.name: untrained(Adaptive.name, family)}

    async def read(store: "Store") -> int:
        return await store.tenants.get(tenant)

    source = Registry(access_of(settings))
    return members_of_own(source, with_store(read), family, tell)


def score_own(
    family: "Family",
    members: "Mapping[str, Bundle]",
    source: Path,
    target: Path,
    options: "Options",
    workers: int,
    step: Step,
) -> int:
    """Score a file of a family that a tenant has defined; return the number of rows.

    Raises:
        InvalidInput: The file breaks a rule, or Ray Data is asked for.
    """
    from pipelines.scoring.score import score as score_here

    if workers:
        raise InvalidInput("workers", workers, "must be 0: a family of your own is scored in this process")

    def done(rows: int, total: int) -> None:
        step("score", rows, total)

    return score_here(
        family, source, target, members, options.entity, options.order, options.settle, done, options.detail
    )


def score_file(
    models: Registry,
    family: "Family",
    source: Path,
    target: Path,
    wanted: list[str],
    options: "Options",
    workers: int,
    step: Step,
) -> int:
    """Score a file with the champions of a family; return the number of rows.

    Args:
        models: Where the champions stand.
        family: What the recordings are of.
        source: A file, or a folder of them.
        target: A file, or a folder where Ray Data scores.
        wanted: Members by name.
        options: What is wanted of each row.
        workers: Processes that Ray Data runs at once; 0 scores a file in this process, and a folder on every core.
        step: Told how far it is.

    Raises:
        InvalidInput: The file breaks a rule.
    """
    from pipelines.scoring.batch import fetch_members, score_many
    from pipelines.scoring.score import score as score_here

    def done(rows: int, total: int) -> None:
        step("score", rows, total)

    if workers or source.is_dir():
        packed = fetch_members(models, family.name, wanted)
        return score_many(family, source, target, packed, options, workers or os.cpu_count() or 1, done)
    members = load_members(models, family.name, wanted)
    plan = (options.entity, options.order, options.settle, done, options.detail)
    return score_here(family, source, target, members, *plan)
