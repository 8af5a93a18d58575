"""`hdx train`: fits the detectors of a family and registers them in MLflow with their evidence."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.table import Table

from configs.settings import Settings
from pipelines.datasets.feedback import Remark
from pipelines.machines.family import Family, family_names
from serve_app.cli.options import (
    ChannelOption,
    DataOption,
    DryRunOption,
    SeedOption,
    ZoneOption,
    known_family,
    recordings,
    signing_settings,
)
from serve_app.cli.progress import Step, bar, console, tell

if TYPE_CHECKING:
    from pipelines.datasets.mapping import Wanted
    from pipelines.training.run import Plan
    from serve_app.store.repository import Store

app = typer.Typer()

# Newest words that a training reads. Source: own choice; several times the recordings of any family.
FEEDBACK_MAX = 20_000


@app.command()
def train(
    family: Annotated[str, typer.Option("--family", help="Kind of machine, shipped or one of your own.")],
    data: DataOption = None,
    seed: SeedOption = 7,
    promote: Annotated[bool, typer.Option(help="Make the new versions champions even where there are some.")] = False,
    feedback: Annotated[bool, typer.Option("--feedback", help="Learn from what people said of answers, too.")] = False,
    tenant: Annotated[
        str, typer.Option(help="Whose feedback, that of all when left out; of a family of your own: whose, demo.")
    ] = "",
    trials: Annotated[int, typer.Option(min=0, help="Settings to try for each detector beside the shipped ones.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that Ray runs at once; 1: this process.")] = 1,
    channel: ChannelOption = None,
    zone: ZoneOption = "",
    dry_run: DryRunOption = False,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="Column of labels, for a family of your own, named as the part it is of; repeat."),
    ] = None,
) -> None:
    """Train the detectors of a family, and register them in MLflow with their evidence, as challengers."""
    from pipelines.training.run import Plan
    from serve_app.local.offline import check_registry, open_registry

    if family not in family_names():
        from pipelines.datasets.mapping import Wanted

        said = Wanted.of(channel or (), zone)
        given = Given(data, said, label or (), feedback or data is None, dry_run)
        console.print(train_defined(family, tenant or "demo", given, Plan(seed, trials, workers), promote))
        return
    if label:
        raise typer.BadParameter("--label is for families of your own: shipped ones name their label columns")
    if tenant and not feedback:
        raise typer.BadParameter("--tenant says whose feedback: it needs --feedback")
    settings, kind = signing_settings(dry_run=dry_run), known_family(family)
    plan = Plan(seed, trials, workers)
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


class Given(NamedTuple):
    """What a family of a tenant's own is trained on.

    Attributes:
        labels: Columns of labels; those that look like such when none is named.
        feedback: Whether what people said of answers counts.
    """

    data: Path | None
    wanted: "Wanted"
    labels: Sequence[str]
    feedback: bool
    dry_run: bool


def train_defined(name: str, tenant: str, given: Given, plan: "Plan", promote: bool) -> Table | str:
    """Train the detectors of a family that a tenant has defined, and register them as the tenant's own.

    Raises:
        InvalidInput: The tenant has no such family, or its labels are too few or break a rule.
    """
    from pipelines.datasets.labelled import read_labelled
    from pipelines.training.labelled_family import prepare
    from serve_app.cli.users import with_store
    from serve_app.local.offline import check_registry, open_registry
    from serve_app.training import remarks_on, train_own

    settings, kind = signing_settings(dry_run=given.dry_run), known_family(name, tenant)
    if not given.dry_run:
        check_registry(settings)

    async def read(store: "Store") -> tuple[int, int, list[Remark]]:
        tenant_id = await store.tenants.get(tenant)
        said = await remarks_on(store, tenant_id, kind, FEEDBACK_MAX, tell) if given.feedback else []
        return tenant_id, (await store.families.get(tenant_id, name)).version, said

    tenant_id, version, remarks = with_store(read)
    recorded = None if given.data is None else read_labelled(kind, given.data, given.wanted, given.labels, tell)
    prepared = prepare(kind, recorded, remarks, tell)
    if given.dry_run:
        return f"names {', '.join(prepared.family.components) or 'no component'}"
    table = Table("model", "version", "AUC, groups left out", box=None)
    with open_registry(settings, console), bar() as step:
        for made in train_own(settings, tenant_id, version, prepared, plan, promote, step):
            table.add_row(made.name, made.version, f"{made.skill:.4f}")
    return table


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
    from serve_app.shared.registry_access import access_of, signer_of

    recordings = load(family, data, plan.seed, machines=settings.models.simulated_machines)
    learned = learn(family, recordings, remarks, plan, step)
    table = Table("model", "version", "AUC, groups left out", box=None)
    access, signer = access_of(settings), signer_of(settings)
    for number, (bundle, tried, provenance) in enumerate(learned):
        step(f"register {bundle.card.detector}", number, len(learned))
        version = publish(bundle, family, access, signer, promote, provenance, tried)
        table.add_row(f"hdx-{family.name}-{bundle.card.detector}", version, f"{bundle.card.skill:.4f}")
    step("registered", len(learned), len(learned))
    return table
