"""`hdx train`: fits the detectors of a family and registers them in MLflow with their evidence."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from configs.settings import Settings, read_settings
from pipelines.datasets.feedback import Remark
from pipelines.machines.family import Family
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
from serve_app.cli.progress import Step, bar, console

if TYPE_CHECKING:
    from pipelines.training.run import Plan

app = typer.Typer()

# Newest words that a training reads. Source: own choice; several times the recordings of any family.
FEEDBACK_MAX = 20_000


@app.command()
def train(
    family: FamilyOption,
    data: DataOption = None,
    seed: SeedOption = 7,
    promote: Annotated[bool, typer.Option(help="Make the new versions champions even where there are some.")] = False,
    feedback: Annotated[bool, typer.Option("--feedback", help="Learn from what people said of answers, too.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose feedback; that of all tenants when left out.")] = "",
    trials: Annotated[int, typer.Option(min=0, help="Settings to try for each detector beside the shipped ones.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that Ray runs at once; 1: this process.")] = 1,
    channel: ChannelOption = None,
    zone: ZoneOption = "",
    dry_run: DryRunOption = False,
) -> None:
    """Train the detectors of a family, and register them in MLflow with their evidence, as challengers."""
    from pipelines.training.run import Plan
    from serve_app.local.offline import check_registry, open_registry

    if tenant and not feedback:
        raise typer.BadParameter("--tenant says whose feedback: it needs --feedback")
    settings, kind, plan = read_settings(), known_family(family), Plan(seed, trials, workers)
    # Before and not inside: two uses of the parts of this machine in one process would wait for each other.
    remarks = asyncio.run(remarks_of(settings, kind, tenant)) if feedback else []
    if not dry_run:
        check_registry(settings)
    with recordings(kind, data, channel, zone, dry_run) as path:
        if dry_run:
            return
        with open_registry(settings, console), bar() as step:
            trained = train_family(settings, kind, path, plan, remarks, promote, step)
    console.print(trained)


async def remarks_of(settings: Settings, family: Family, tenant: str) -> list[Remark]:
    """Return what people said of a family's windows, those of one tenant or of all when it is empty.

    Raises:
        NotFound: There is no such tenant.
    """
    from serve_app.local.offline import open_store

    async with open_store(settings) as store:
        tenant_id = await store.tenants.get(tenant) if tenant else None
        found = await store.feedback.labelled(family.name, FEEDBACK_MAX, tenant_id)
    return [
        Remark(f"{each.tenant_id}/{each.system_id}", each.window, each.baseline, each.truth, each.component)
        for each in found
    ]


def train_family(
    settings: Settings,
    family: Family,
    data: Path | None,
    plan: "Plan",
    remarks: list[Remark],
    promote: bool,
    step: Step,
) -> Table:
    """Train and register every detector of a family.

    Args:
        settings: Name the registry.
        family: What the recordings are of.
        data: Recordings; None simulates them.
        plan: Seed, trials and workers.
        remarks: What people said of answers.
        promote: Make the new versions champions even where there are some.
        step: Told how far it is.
    """
    from pipelines.training.publish import publish
    from pipelines.training.run import learn
    from pipelines.training.train import load

    recordings = load(family, data, plan.seed, machines=settings.models.simulated_machines)
    learned = learn(family, recordings, remarks, plan, step)
    table = Table("model", "version", "AUC, groups left out", box=None)
    url, alias = settings.tracking_url, settings.models.alias
    for number, (bundle, tried, provenance) in enumerate(learned):
        step(f"register {bundle.card.detector}", number, len(learned))
        version = publish(bundle, family, url, alias, promote, provenance, tried)
        table.add_row(f"hdx-{family.name}-{bundle.card.detector}", version, f"{bundle.card.skill:.4f}")
    step("registered", len(learned), len(learned))
    return table
