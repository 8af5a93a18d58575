"""`hdx models`, `promote`, `rollback` and `sign`: what stands where in the registry, what shall, and what may."""

from collections.abc import Mapping
from getpass import getuser
from hashlib import sha256 as digest_of_file
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from configs.settings import read_settings
from pipelines.detectors.members import registry
from pipelines.errors import InvalidInput
from pipelines.promotion.mlflow_client import Registry, check_files, model_name, request_promotion
from pipelines.promotion.model_loader import Held, examined
from pipelines.promotion.rollout import PromotionRequest
from pipelines.promotion.signing import SIGNATURE
from serve_app.cli.options import signing_settings
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


@app.command()
def sign(
    name: Annotated[str, typer.Argument(help="Registered model, such as hdx-generic-catboost.")] = "",
    version: Annotated[str, typer.Argument()] = "",
    sha256: Annotated[str, typer.Option("--sha256", help="Of its card, by who made it; you are asked without.")] = "",
    key: Annotated[bool, typer.Option("--key", help="Print by which key others know what is signed here.")] = False,
) -> None:
    """Let the replicas use a version that HDX has not made itself: look at what it is, and sign it."""
    from serve_app.shared.registry_access import signer_of

    if key:
        print(signer_of(signing_settings()).public.hex())
        return
    if not (name and version):
        raise typer.BadParameter("name a model and a version")
    console.print(sign_version(name, version, sha256))


def sign_version(name: str, version: str, sha256: str) -> str:
    """Show a version, and sign what was shown once people agree, or once its card is the one that they mean.

    Raises:
        NotFound: There is no such version.
        ArtefactRejected: No replica could use it.
        InvalidInput: Its card is another.
        Unavailable: The registry does not answer.
    """
    from serve_app.local.offline import open_registry
    from serve_app.shared.registry_access import signer_of

    settings = signing_settings()
    with open_registry(settings, console) as source:
        release = source.release(name, version)
        files = source.download(release)
        console.print(version_table(examined(release, check_files(release, files)), files))
        if sha256 and sha256 != release.sha256:
            raise InvalidInput("sha256", sha256, f"must be that of the version's card, {release.sha256}")
        if not sha256:
            typer.confirm("Sign it?", abort=True)
        source.note(name, version, **{SIGNATURE: signer_of(settings).sign(name, version, files)})
    return f"{name}: version {version} is signed"


def version_table(held: Held, files: Mapping[str, bytes]) -> Table:
    """Return what a version is, by its own card, and what it consists of."""
    card = held.bundle.card
    table = Table(title=f"{held.release.name}, version {held.release.version}", box=None, show_header=False)
    made = f"{card.rows} windows, seed {card.seed}, data {card.fingerprint[:16]}, AUC {card.skill:.4f}"
    table.add_row("fitted on", made)
    for name, content in sorted(files.items()):
        table.add_row(escape(name), digest_of_file(content).hexdigest())
    return table


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
