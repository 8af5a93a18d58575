"""`hdx models`, `hdx promote` and `hdx rollback`: what stands where in the registry, and what shall stand there."""

from getpass import getuser
from typing import Annotated

import typer
from rich.table import Table

from configs.settings import Settings, read_settings
from pipelines.detectors.members import registry
from pipelines.promotion.mlflow_client import Registry, request_promotion
from pipelines.promotion.rollout import PromotionRequest
from serve_app.cli.progress import console

app = typer.Typer()

ModelArgument = Annotated[str, typer.Argument(help="Registered model, such as hdx-generic-catboost.")]


@app.command()
def models() -> None:
    """List the registered models, and which version stands where."""
    console.print(models_table(read_settings()))


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
    console.print(move_model(read_settings(), name, version, reason if urgent else ""))


@app.command()
def rollback(name: ModelArgument) -> None:
    """Leave the rollout that runs, or make the previous version live again."""
    console.print(move_model(read_settings(), name, "", ""))


def models_table(settings: Settings) -> Table:
    """Return what stands where in the registry."""
    source = Registry(settings.tracking_url, settings.models.alias)
    table = Table("model", settings.models.alias, "live", "previous", "under way", box=None)
    for detector in registry():
        for state in source.states(detector).values():
            rollout = state.rollout
            under_way = f"{rollout.version}: {rollout.stage}" if rollout else ""
            table.add_row(state.name, state.champion, state.live, state.previous, under_way)
    return table


def move_model(settings: Settings, name: str, version: str, reason: str) -> str:
    """Write into the registry which version shall be live, and say so; the running service follows.

    Raises:
        NotFound: There is no such model or version.
        Conflict: There is nothing to go back to.
        Unavailable: The registry does not answer.
    """
    source = Registry(settings.tracking_url, settings.models.alias)
    version = request_promotion(source, PromotionRequest(name, version, getuser(), reason))
    return f"{name}: version {version} shall be live; see `hdx models`"
