"""`hdx index`, `hdx search` and `hdx answer`: documents into the index, and many questions of a collection at once."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.settings import Settings, read_settings
from serve_app.cli.progress import Step, bar, console

if TYPE_CHECKING:
    from pipelines.knowledge.search.encoder import Encoder

app = typer.Typer()

CORPUS = typer.Option(help="Parquet: doc_id, text, title?, lang?; rows of one doc_id are its parts.", exists=True)
QUERIES = typer.Option(help="Parquet: query_id, text, lang?.", exists=True)
OUT = typer.Option("--out", help="Parquet file to write.")


@app.command()
def index(
    folder: Annotated[
        Path | None, typer.Argument(exists=True, file_okay=False, help="PDF, DOCX, HTML, Markdown and text.")
    ] = None,
    built_in: Annotated[bool, typer.Option("--built-in", help="Index the knowledge shipped with HDX.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose documents they are.")] = "demo",
    workers: Annotated[int, typer.Option(min=0, help="Encoders that Ray Data runs at once; 0: this process.")] = 0,
) -> None:
    """Read documents, cut them into passages and index them for the assistant."""
    if (folder is None) == (not built_in):
        raise typer.BadParameter("give a folder or --built-in, one of the two")
    with bar() as step:
        console.print(index_documents(read_settings(), folder, tenant, workers, step))


@app.command()
def search(
    corpus: Annotated[Path, CORPUS],
    queries: Annotated[Path, QUERIES],
    out: Annotated[Path, OUT],
    top: Annotated[int, typer.Option(min=1, max=1000, help="Documents a query.")] = 100,
) -> None:
    """Search a corpus for many queries offline: query_id, doc_id, rank, score."""
    from pipelines.knowledge.answer.batch import search_corpus

    settings = read_settings()
    multilingual = settings.knowledge.encoder_multilingual
    with bar() as step:
        found = search_corpus(corpus, queries, encoder_of(settings), top, multilingual=multilingual, step=step)
    write_rows(found, out)


@app.command()
def answer(
    corpus: Annotated[Path | None, CORPUS] = None,
    queries: Annotated[Path | None, QUERIES] = None,
    out: Annotated[Path | None, OUT] = None,
    feedback: Annotated[bool, typer.Option("--feedback", help="Print what people said of answers instead.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose answers, with --feedback.")] = "demo",
    days: Annotated[int, typer.Option(min=1, max=36_500, help="How far --feedback looks back.")] = 90,
    as_json: Annotated[bool, typer.Option("--json", help="Print --feedback as JSON.")] = False,
) -> None:
    """Answer many questions from a corpus offline: query_id, doc_id, start, end, quote, rank, confidence, abstained.

    With --feedback, report what people said of the answers that the service gave: how often they helped, and which were
    wrong or had what was asked for missing, with what they cited.
    """
    if feedback:
        from serve_app.cli.answers import print_feedback

        print_feedback(tenant, days, as_json)
        return
    if corpus is None or queries is None or out is None:
        raise typer.BadParameter("give --corpus, --queries and --out, or --feedback")
    from pipelines.knowledge.answer.batch import answer_corpus

    settings = read_settings()
    multilingual = settings.knowledge.encoder_multilingual
    with bar() as step:
        found = answer_corpus(corpus, queries, encoder_of(settings), multilingual=multilingual, step=step)
    write_rows(found, out)


def encoder_of(settings: Settings) -> "Encoder":
    """Load the encoder that the settings name."""
    from pipelines.knowledge.search.encoder import Encoder

    return Encoder.load(settings.knowledge.encoder_path, settings.knowledge.device)


def write_rows(table: Any, out: Path) -> None:
    """Write an Arrow table as Parquet, and say how many rows it has."""
    from pyarrow import parquet

    parquet.write_table(table, out)
    console.print(f"{table.num_rows} rows -> {out}")


def index_documents(settings: Settings, folder: Path | None, tenant: str, workers: int, step: Step) -> str:
    """Index a folder for a tenant, or the built-in knowledge for all; return what became of the files.

    Args:
        settings: Name index and encoder.
        folder: None for the built-in knowledge.
        tenant: Whose documents they are.
        workers: Encoders that Ray Data runs at once; 0 reads one file after the other in this process.
        step: Told how far it is.
    """
    from pipelines.knowledge.ingest.bulk import index_many
    from pipelines.knowledge.ingest.document_reader import Bounds
    from pipelines.knowledge.ingest.ingest import articles, drop_short_named, ingest, renew
    from pipelines.knowledge.search.index import BUILT_IN, Index

    knowledge = settings.knowledge
    index = Index.open(settings.home / "knowledge", knowledge.encoder_multilingual)
    encoder = encoder_of(settings)
    renew(index, encoder)
    files = articles() if folder is None else sorted(path for path in folder.rglob("*") if path.is_file())
    bounds = Bounds.of(settings.documents)
    tenant_id = BUILT_IN if folder is None else asyncio.run(tenant_of(settings, tenant))
    if workers:
        encoded_by = knowledge.encoder_path, knowledge.device
        report = index_many(files, index, tenant_id, encoded_by, workers, bounds, step, folder=folder)
    else:

        def told(number: int, total: int, name: str) -> None:
            step(name, number, total)

        own = bounds if folder else None
        report = ingest(files, index, encoder, tenant_id, told, folder=folder, drop_missing=folder is None, bounds=own)
        step("indexed", len(files), len(files))
    if folder is not None:
        drop_short_named(index, tenant_id, files, folder)
    failed = "".join(f"\n  {name}: {reason}" for name, reason in report.failed.items())
    return (
        f"{len(report.added)} added, {len(report.replaced)} replaced, {len(report.unchanged)} unchanged, "
        f"{len(report.removed)} removed, {len(report.failed)} failed; {report.passages} passages{failed}"
    )


async def tenant_of(settings: Settings, name: str) -> int:
    """Return a tenant's id, made when absent."""
    from serve_app.local.offline import open_store

    async with open_store(settings) as store:
        return await store.tenants.ensure(name)
