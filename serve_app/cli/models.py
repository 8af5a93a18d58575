"""`hdx models`, `hdx promote` and `hdx rollback`: what stands where in the registry, and what shall stand there."""

from getpass import getuser
from typing import Annotated

import typer
from rich.table import Table

from configs.settings import read_settings
from pipelines.detectors.members import registry
from pipelines.promotion.mlflow_client import Registry, model_name, request_promotion
from pipelines.promotion.rollout import PromotionRequest
from serve_app.cli.progress import console

app = typer.Typer()

ModelArgument = Annotated[str, typer.Argument(help="Registered model, such as hdx-generic-catboost.")]


@app.command()
def models() -> None:
    """List the registered models, and which version stands where."""
    from serve_app.local.offline import open_registry

    settings = read_settings()
    with open_registry(settings, console) as source:
        console.print(models_table(source, settings.models.alias))


@app.command()
def promote(
    name: ModelArgument,
    version: str,
    urgent: Annotated[bool, typer.Option("--urgent", help="Skip every gate but loading and the probe window.")] = False,
    reason: Annotated[str, typer.Option(help="Written into the audit; needed when urgent.")] = "",
) -> None:
    """Make a version live: shadow, canary, then all replicas, or back by the gates."""
    if urgent and not reason.strip():
        raise typer.BadParameter("--urgent needs a --reason")
    console.print(move_model(name, version, reason if urgent else ""))


@app.command()
def rollback(name: ModelArgument) -> None:
    """Leave the rollout that runs, or make the previous version live again."""
    console.print(move_model(name, "", ""))


def models_table(source: Registry, alias: str) -> Table:
    """Return what stands where in the registry."""
    table = Table("model", alias, "live", "previous", "under way", box=None)
    for detector in registry():
        for state in source.states(detector).values():
            rollout = state.rollout
            under_way = f"{rollout.version}: {rollout.stage}" if rollout else ""
            table.add_row(state.name, state.champion, state.live, state.previous, under_way)
    for (family, tenant), versions in sorted(source.owned().items()):
        for detector, version in sorted(versions.items()):
            # A tenant's own model has no rollout: its champion is what answers.
            table.add_row(model_name(family, detector, tenant), version, version, "", "")
    return table


def move_model(name: str, version: str, reason: str) -> str:
    """Write into the registry which version shall be live, and say so; the service follows, or its next start.

    Raises:
        NotFound: There is no such model or version.
        Conflict: There is nothing to go back to.
        Unavailable: The registry does not answer.
    """
    from serve_app.local.offline import open_registry

    with open_registry(read_settings(), console) as source:
        version = request_promotion(source, PromotionRequest(name, version, getuser(), reason))
    return f"{name}: version {version} shall be live; see `hdx models`"
