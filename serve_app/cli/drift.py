"""`hdx drift`: which systems of a file have moved away from their first windows, in what, and since when."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from configs.settings import Settings, read_settings
from pipelines.detectors.bundle import Bundle
from pipelines.detectors.members import registry
from pipelines.errors import NotFound, Unavailable
from pipelines.promotion.mlflow_client import load_members
from serve_app.cli.options import ChannelOption, DryRunOption, FamilyOption, ZoneOption, known_family
from serve_app.cli.progress import bar, console, tell

if TYPE_CHECKING:
    from pipelines.drift.report import Trace

app = typer.Typer()


@app.command()
def drift(
    family: FamilyOption,
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Parquet, CSV or Excel file.")],
    entity: Annotated[str, typer.Option(help="Column of the system; the whole file is one when left out.")] = "",
    order: Annotated[str, typer.Option(help="Column that its rows are in the order of.")] = "",
    settle: Annotated[int, typer.Option(min=0, help="First rows of each system, used as baseline only.")] = 0,
    report: Annotated[Path | None, typer.Option(help="HTML page with plots.")] = None,
    channel: ChannelOption = None,
    zone: ZoneOption = "",
    dry_run: DryRunOption = False,
) -> None:
    """Say which systems of a file have drifted, in what, and when, each against its own first windows."""
    from pipelines.datasets.exports import opened
    from pipelines.datasets.mapping import Wanted
    from pipelines.drift.report import render_drift, trace

    settings, kind = read_settings(), known_family(family)
    with opened(kind, source, Wanted.of(channel or (), zone), tell, entity, order, dry_run) as read:
        if dry_run:
            return
        members, judged_by = champions(settings, kind.name)
        with bar() as step:

            def follow(done: int, total: int) -> None:
                step("follow", done, total)

            traces = trace(kind, read.path, members, read.entity, read.order, settle, follow)
    if report:
        report.write_text(render_drift(kind, traces), encoding="utf-8")
    console.print(drift_tables(traces, judged_by))


def champions(settings: Settings, family: str) -> tuple[Mapping[str, Bundle], str]:
    """Return the champions of a family, none where there are none, and what drift is looked for in."""
    from serve_app.local.offline import open_registry

    try:
        with open_registry(settings, console) as source:
            return load_members(source, family, list(registry())), "inputs, scores and normal"
    except (NotFound, Unavailable) as error:
        return {}, f"inputs alone: {error}"


def drift_tables(traces: "Sequence[Trace]", judged_by: str) -> Group:
    """Return what drifts, when it was found, and how long it had lasted."""
    from pipelines.drift.monitor import KINDS
    from pipelines.drift.report import seen, short

    table = Table("system", "windows", "kind", "found at", "lasted, windows", "what", title=judged_by, box=None)
    for trace in seen(traces):
        found = [(kind, first) for kind in KINDS if (first := trace.first(kind))]
        for kind, (moment, drift) in found:
            table.add_row(trace.system, str(trace.windows), kind, moment, str(drift.since), drift.what)
        if not found:
            table.add_row(trace.system, str(trace.windows), "none")
    few = short(traces)
    return Group(table, f"too few windows for a reference: {', '.join(few)}" if few else "")
