"""Beside the request path: `hdx`, the command line.

Exists so that every step of the quickstart, of training and of upkeep is one command.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from configs.settings import ENV_FILE, new_secrets, read_settings, version
from pipelines.errors import HdxError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Hydraulic diagnostics served on Ray.")
users = typer.Typer(no_args_is_help=True, help="People who may log in.")
app.add_typer(users, name="user")
console = Console(highlight=False)

FamilyOption = Annotated[str, typer.Option("--family", help="Kind of machine: generic, rig or water-loop.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Parquet file, or a folder with one.", exists=True)]
SeedOption = Annotated[int, typer.Option(help="Same data, same seed: same models.")]


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 1."""
    try:
        app()
    except HdxError as error:
        sys.exit(f"hdx: {error}")
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False):
            print(f"hdx: {'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}", file=sys.stderr)
        sys.exit(1)
    except ValueError as error:
        sys.exit(f"hdx: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"hdx {version()}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print and exit.")] = False,
) -> None:
    """Hydraulic diagnostics served on Ray."""


@app.command()
def run() -> None:
    """Start everything on this machine and stay in the foreground; Ctrl-C stops it."""
    from serve_app.local.bootstrap import make_env
    from serve_app.local.bootstrap import run as bring_up

    if make_env(ENV_FILE):
        console.print(f"  [green]ok[/green] wrote {ENV_FILE} with fresh secrets")
    try:
        bring_up(read_settings(), console)
    except KeyboardInterrupt:
        console.print("\nStopped.")


@app.command()
def reload() -> None:
    """Load edited code: replace every replica while the service runs."""
    import time

    from serve_app.local.bootstrap import deploy
    from serve_app.local.cluster import read_config
    from serve_app.local.terminal import Steps

    settings = read_settings()
    config = read_config(settings)
    config["applications"][0]["args"]["revision"] = str(time.time_ns())
    deploy(settings, Steps(console), config)


@app.command()
def status() -> None:
    """List services and deployments, and whether each is up."""
    from serve_app.local.doctor import status_table

    console.print(status_table(read_settings()))


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="gateway, mlflow, ray, or a deployment; all when left out.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing what is added.")] = False,
) -> None:
    """Print the logs of all services or of one."""
    from serve_app.local.doctor import print_logs

    print_logs(read_settings(), service, follow)


@app.command()
def doctor() -> None:
    """Say what is wrong with this installation, and what to do about it."""
    from serve_app.local.doctor import examine

    findings = examine(read_settings())
    for finding in findings:
        mark = "[green]ok  [/green]" if finding.fine else "[red]fail[/red]"
        console.print(f"{mark} {finding.part}: {finding.words}")
    raise typer.Exit(not all(finding.fine for finding in findings))


@app.command()
def keys() -> None:
    """Print fresh secrets, ready for `.env`."""
    for name, value in new_secrets().items():
        print(f"{name}={value}")


@users.command("create")
def create_user(
    username: str,
    email: Annotated[str, typer.Option(help="May be used to log in, too.")],
    role: Annotated[Literal["admin", "engineer", "operator", "viewer"], typer.Option()] = "operator",
    tenant: Annotated[str, typer.Option(help="Made when absent.")] = "demo",
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for when left out.")
    ] = "",
) -> None:
    """Create an account."""
    from serve_app.local.bootstrap import database
    from serve_app.shared.credentials import hash_password
    from serve_app.store.repository import Store

    async def create(url: str) -> None:
        store = Store.open(url, 1)
        try:
            tenant_id = await store.tenants.ensure(tenant)
            await store.accounts.add(tenant_id, username, email, hash_password(password), role)
        finally:
            await store.close()

    with database(read_settings()) as (url, _):
        asyncio.run(create(url))
    console.print(f"Created {role} {username} of tenant {tenant}.")


@users.command("key")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for; shown in the audit.")],
    role: Annotated[Literal["admin", "engineer", "operator", "viewer"], typer.Option()] = "operator",
    tenant: Annotated[str, typer.Option(help="Made when absent.")] = "demo",
) -> None:
    """Make an API key and print it, this once; send it in `X-API-Key`, or as the key of an OpenAI client."""
    from serve_app.local.bootstrap import database
    from serve_app.shared.credentials import digest, new_api_key
    from serve_app.store.repository import Store

    key = new_api_key()

    async def create(url: str) -> None:
        store = Store.open(url, 1)
        try:
            await store.keys.add(await store.tenants.ensure(tenant), name, role, digest(key))
        finally:
            await store.close()

    with database(read_settings()) as (url, _):
        asyncio.run(create(url))
    print(key)


def _progress() -> Progress:
    return Progress(
        TextColumn("  {task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console,
    )  # fmt: skip


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
) -> None:
    """Train the detectors of a family, and register them in MLflow with their evidence, as challengers."""
    from serve_app.jobs import train_family

    if tenant and not feedback:
        raise typer.BadParameter("--tenant says whose feedback: it needs --feedback")
    settings = read_settings()
    with _progress() as progress:
        trained = train_family(settings, family, data, seed, promote, feedback, tenant, trials, workers, progress)
    console.print(trained)


ModelArgument = Annotated[str, typer.Argument(help="Registered model, such as hdx-generic-catboost.")]


@app.command()
def models() -> None:
    """List the registered models, and which version stands where."""
    from serve_app.jobs import models_table

    console.print(models_table(read_settings()))


@app.command()
def promote(
    name: ModelArgument,
    version: str,
    urgent: Annotated[bool, typer.Option("--urgent", help="Skip every gate but loading and the probe window.")] = False,
    reason: Annotated[str, typer.Option(help="Written into the audit; needed when urgent.")] = "",
) -> None:
    """Make a version live: shadow, canary, then all replicas, or back by the gates."""
    from serve_app.jobs import move_model

    if urgent and not reason.strip():
        raise typer.BadParameter("--urgent needs a --reason")
    console.print(move_model(read_settings(), name, version, reason if urgent else ""))


@app.command()
def rollback(name: ModelArgument) -> None:
    """Leave the rollout that runs, or make the previous version live again."""
    from serve_app.jobs import move_model

    console.print(move_model(read_settings(), name, "", ""))


@app.command()
def evaluate(
    family: FamilyOption,
    data: DataOption = None,
    by: Annotated[str, typer.Option(help="Column of what is left out together; the family's own when empty.")] = "",
    seed: SeedOption = 7,
    report: Annotated[Path | None, typer.Option(help="HTML page with plots; the figures as JSON beside it.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Log figures and page to MLflow.")] = False,
) -> None:
    """Judge a family's detectors on recordings or condition blocks left out of training."""
    from serve_app.jobs import evaluate_family

    settings = read_settings()
    with _progress() as progress:
        console.print(evaluate_family(settings, family, data, by, seed, report, log, progress))


@app.command()
def score(
    family: FamilyOption,
    source: Annotated[Path, typer.Argument(exists=True, help="Parquet file, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="Parquet file; a folder of them by --workers or from a folder.")],
    entity: Annotated[str, typer.Option(help="Column of the recording, for one row a sample.")] = "",
    order: Annotated[str, typer.Option(help="Column of the sample number in it.")] = "",
    settle: Annotated[int, typer.Option(min=0, help="First samples of each recording, used as baseline only.")] = 0,
    detectors: Annotated[str, typer.Option(help="Members by name, with commas; all when left out.")] = "",
    detail: Annotated[
        Literal["score", "components", "full"] | None,
        typer.Option(help="What is wanted beside the score; what names the anomaly when left out."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that Ray Data runs at once; 0: this process.")] = 0,
) -> None:
    """Score recordings offline with the very code that serves; what was killed goes on when it is run again."""
    from serve_app.jobs import score_file

    settings = read_settings()
    with _progress() as progress:
        rows = score_file(settings, family, source, target, entity, order, settle, detectors, detail, workers, progress)
    console.print(f"{rows} rows -> {target}")


@app.command()
def drift(
    family: FamilyOption,
    source: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Parquet file of recordings.")],
    entity: Annotated[str, typer.Option(help="Column of the system; the whole file is one when left out.")] = "",
    order: Annotated[str, typer.Option(help="Column that its rows are in the order of.")] = "",
    settle: Annotated[int, typer.Option(min=0, help="First rows of each system, used as baseline only.")] = 0,
    report: Annotated[Path | None, typer.Option(help="HTML page with plots.")] = None,
) -> None:
    """Say which systems of a file have drifted, in what, and when, each against its own first windows."""
    from serve_app.jobs import drift_file

    with _progress() as progress:
        found = drift_file(read_settings(), family, source, entity, order, settle, report, progress)
    console.print(found)


@app.command()
def index(
    folder: Annotated[Path | None, typer.Argument(exists=True, help="PDF, DOCX, HTML, Markdown and text.")] = None,
    built_in: Annotated[bool, typer.Option("--built-in", help="Index the knowledge shipped with HDX.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose documents they are.")] = "demo",
    workers: Annotated[int, typer.Option(min=0, help="Encoders that Ray Data runs at once; 0: this process.")] = 0,
) -> None:
    """Read documents, cut them into passages and index them for the assistant."""
    from serve_app.jobs import index_documents

    if (folder is None) == (not built_in):
        raise typer.BadParameter("give a folder or --built-in, one of the two")
    with _progress() as progress:
        console.print(index_documents(read_settings(), folder, tenant, workers, progress))


CorpusOption = Annotated[Path, typer.Option(help="Parquet: doc_id, text, title?, lang?.", exists=True)]
QueriesOption = Annotated[Path, typer.Option(help="Parquet: query_id, text, lang?.", exists=True)]
OutOption = Annotated[Path, typer.Option("--out", help="Parquet file to write.")]


@app.command()
def search(
    corpus: CorpusOption,
    queries: QueriesOption,
    out: OutOption,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Documents a query.")] = 100,
) -> None:
    """Search a corpus for many queries offline: query_id, doc_id, rank, score."""
    from serve_app.jobs import run_corpus

    with _progress() as progress:
        rows = run_corpus(read_settings(), corpus, queries, out, top, progress)
    console.print(f"{rows} rows -> {out}")


@app.command()
def answer(corpus: CorpusOption, queries: QueriesOption, out: OutOption) -> None:
    """Answer many questions from a corpus offline: query_id, doc_id, start, end, quote, rank, confidence, abstained."""
    from serve_app.jobs import run_corpus

    with _progress() as progress:
        rows = run_corpus(read_settings(), corpus, queries, out, 0, progress)
    console.print(f"{rows} rows -> {out}")


if __name__ == "__main__":
    main()
