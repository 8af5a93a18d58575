"""`hdx evaluate`: judges a family's detectors on data left out of training, as tables, a page, or a run in MLflow."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from configs.settings import read_settings
from serve_app.cli.options import (
    ChannelOption,
    DataOption,
    DryRunOption,
    FamilyOption,
    SeedOption,
    ZoneOption,
    known_family,
    recordings,
)
from serve_app.cli.progress import bar, console

if TYPE_CHECKING:
    from pipelines.training.evaluate import Evaluation, Figures

app = typer.Typer()


@app.command()
def evaluate(
    family: FamilyOption,
    data: DataOption = None,
    by: Annotated[str, typer.Option(help="Column of what is left out together; the family's own when empty.")] = "",
    seed: SeedOption = 7,
    report: Annotated[Path | None, typer.Option(help="HTML page with plots; the figures as JSON beside it.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Log figures and page to MLflow.")] = False,
    channel: ChannelOption = None,
    zone: ZoneOption = "",
    dry_run: DryRunOption = False,
) -> None:
    """Judge a family's detectors on recordings or condition blocks left out of training."""
    from pipelines.training.evaluate import evaluate as judge_left_out
    from pipelines.training.publish import log_evaluation
    from pipelines.training.report import render
    from pipelines.training.train import load
    from serve_app.local.offline import check_registry, open_registry
    from serve_app.shared.registry_access import access_of

    settings, kind = read_settings(), known_family(family)
    if log and not dry_run:
        check_registry(settings)
    with recordings(kind, data, channel, zone, dry_run) as path:
        if dry_run:
            return
        given = load(kind, path, seed, by, settings.models.simulated_machines)
    with open_registry(settings, console) if log else nullcontext(), bar() as step:
        found = judge_left_out(kind, given, seed, step)
        page = render(kind, found) if report or log else ""
        if report:
            report.write_text(page, encoding="utf-8")
            report.with_suffix(".json").write_text(json.dumps(found.plain(), indent=1), encoding="utf-8")
        if log:
            log_evaluation(kind, found.plain(), page, access_of(settings))
    console.print(tables_of(found))


def tables_of(found: "Evaluation") -> Group:
    """Return an evaluation as people read it."""
    tables = [
        figures_table("all left out", found.panels),
        figures_table("members' own votes", found.members),
        figures_table("by length", found.lengths),
        figures_table("by what was left out together", found.parts),
    ]
    parts = Table("", "component", "AUC", "grade accuracy", title="components, full windows", box=None)
    for panel, components in found.components.items():
        for component, figures in components.items():
            parts.add_row(panel, component, f"{figures['auc']:.3f}", f"{figures['grade_accuracy']:.3f}")
    if parts.row_count:
        tables.append(parts)
    return Group(*tables)


def figures_table(title: str, rows: "Sequence[Figures]") -> Table:
    """Return figures as a table."""
    rates = ("AUC", "F1", "FAR %", "MAR %", "ECE", "abstained")
    table = Table("", "windows", "anomalous", *rates, title=title, box=None)
    for row in rows:
        alarms = (f"{100 * row.far:.1f}", f"{100 * row.mar:.1f}")
        trust = (f"{row.ece:.3f}", f"{row.abstained:.2f}")
        table.add_row(
            row.name, str(row.windows), f"{row.anomalous:.2f}", f"{row.auc:.3f}", f"{row.f1:.3f}", *alarms, *trust
        )
    return table
