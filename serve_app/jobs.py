"""Beside the request path: what `hdx train`, `evaluate`, `score` and `index` do.

Exists so that the command line only reads words, and the pipelines only do work.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Group
from rich.progress import Progress
from rich.table import Table

from configs.families import Family, family_names, read_family
from configs.settings import Settings
from pipelines.detectors.base import Detail
from pipelines.detectors.registry import registry
from pipelines.errors import InvalidInput
from pipelines.lifecycle.evaluate import Evaluation, Figures
from pipelines.lifecycle.evaluate import evaluate as judge_left_out
from pipelines.lifecycle.publish import log_evaluation, publish
from pipelines.lifecycle.registry import Registry, load_members
from pipelines.lifecycle.score import score
from pipelines.lifecycle.train import load, train

Step = Callable[[str, int, int], None]


def stepping(progress: Progress) -> Step:
    """Return what pipelines call to move a bar of the terminal."""
    task = progress.add_task("read", total=None)

    def step(title: str, done: int, total: int) -> None:
        progress.update(task, description=title, completed=done, total=total)

    return step


def known_family(name: str) -> Family:
    """Return a family.

    Raises:
        InvalidInput: There is none of that name.
    """
    if name not in family_names():
        raise InvalidInput("family", name, f"must be one of {', '.join(family_names())}")
    return read_family(name)


def train_family(
    settings: Settings, name: str, data: Path | None, seed: int, promote: bool, progress: Progress
) -> Table:
    """Train and register every detector of a family."""
    family, step = known_family(name), stepping(progress)
    bundles = train(family, load(family, data, seed), seed, step)
    table = Table("model", "version", "AUC, groups left out", box=None)
    for number, bundle in enumerate(bundles):
        step(f"register {bundle.card.detector}", number, len(bundles))
        version = publish(bundle, family, settings.tracking_url, settings.models.alias, promote)
        table.add_row(f"hdx-{family.name}-{bundle.card.detector}", version, f"{bundle.card.skill:.4f}")
    step("registered", len(bundles), len(bundles))
    return table


def evaluate_family(
    settings: Settings,
    name: str,
    data: Path | None,
    by: str,
    seed: int,
    report: Path | None,
    log: bool,
    progress: Progress,
) -> Group:
    """Judge a family's detectors on data left out; write and log the report where asked."""
    from pipelines.lifecycle.report import render

    family = known_family(name)
    found = judge_left_out(family, load(family, data, seed, by), seed, stepping(progress))
    page = render(family, found) if report or log else ""
    if report:
        report.write_text(page, encoding="utf-8")
        report.with_suffix(".json").write_text(json.dumps(found.plain(), indent=1), encoding="utf-8")
    if log:
        log_evaluation(family, found.plain(), page, settings.tracking_url)
    return tables_of(found)


def tables_of(found: Evaluation) -> Group:
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


def figures_table(title: str, rows: Sequence[Figures]) -> Table:
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


def score_file(
    settings: Settings,
    name: str,
    source: Path,
    target: Path,
    entity: str,
    order: str,
    settle: int,
    detectors: str,
    detail: Detail | None,
    progress: Progress,
) -> int:
    """Score a file with the champions of a family, or with some of them.

    Raises:
        InvalidInput: A name is unknown, or the file breaks a rule.
    """
    family, step = known_family(name), stepping(progress)
    wanted = [word.strip() for word in detectors.split(",") if word.strip()] or list(registry())
    if unknown := set(wanted) - set(registry()):
        raise InvalidInput("detectors", sorted(unknown)[0], f"must be of {', '.join(registry())}")
    members = load_members(Registry(settings.tracking_url, settings.models.alias), family.name, wanted)
    return score(
        family, source, target, members, entity, order, settle, lambda done, of: step("score", done, of), detail
    )


def index_documents(settings: Settings, folder: Path | None, tenant: str, workers: int, progress: Progress) -> str:
    """Index a folder for a tenant, or the built-in knowledge for all; return what became of the files.

    Args:
        settings: Name index and encoder.
        folder: None for the built-in knowledge.
        tenant: Whose documents they are.
        workers: Encoders that Ray Data runs at once; 0 reads one file after the other in this process.
        progress: Shown on the terminal.
    """
    from pipelines.knowledge.encoder import Encoder
    from pipelines.knowledge.index import BUILT_IN, Index
    from pipelines.knowledge.ingest import articles, ingest, renew
    from pipelines.lifecycle.bulk import index_many

    step, knowledge = stepping(progress), settings.knowledge
    index = Index.open(settings.home / "knowledge", knowledge.encoder_multilingual)
    encoder = Encoder.load(knowledge.encoder_path, knowledge.device)
    renew(index, encoder)
    files = articles() if folder is None else sorted(path for path in folder.rglob("*") if path.is_file())
    tenant_id = BUILT_IN if folder is None else asyncio.run(tenant_of(settings, tenant))
    if workers:
        of_encoder = (knowledge.encoder_path, knowledge.device)
        report = index_many(files, index, tenant_id, of_encoder, workers, step)
    else:

        def told(number: int, total: int, name: str) -> None:
            step(name, number, total)

        report = ingest(files, index, encoder, tenant_id, told, drop_missing=folder is None)
        step("indexed", len(files), len(files))
    failed = "".join(f"\n  {name}: {reason}" for name, reason in report.failed.items())
    return (
        f"{len(report.added)} added, {len(report.replaced)} replaced, {len(report.unchanged)} unchanged, "
        f"{len(report.removed)} removed, {len(report.failed)} failed; {report.passages} passages{failed}"
    )


def run_corpus(settings: Settings, corpus: Path, queries: Path, out: Path, top: int, progress: Progress) -> int:
    """Search a corpus for many queries, or with `top` 0 answer them; write a Parquet file and return its rows.

    Raises:
        InvalidInput: A column is missing.
    """
    from pyarrow import parquet

    from pipelines.knowledge.encoder import Encoder
    from pipelines.knowledge.runs import answer_corpus, search_corpus

    step, knowledge = stepping(progress), settings.knowledge
    encoder = Encoder.load(knowledge.encoder_path, knowledge.device)
    multilingual = knowledge.encoder_multilingual
    if top:
        found = search_corpus(corpus, queries, encoder, top, multilingual=multilingual, step=step)
    else:
        found = answer_corpus(corpus, queries, encoder, multilingual=multilingual, step=step)
    parquet.write_table(found, out)
    return int(found.num_rows)


async def tenant_of(settings: Settings, name: str) -> int:
    """Return a tenant's id, made when absent."""
    from serve_app.bootstrap import database
    from serve_app.store.repository import Store

    with database(settings) as (url, _):
        store = Store.open(url, 1)
        try:
            return await store.ensure_tenant(name)
        finally:
            await store.close()
