"""Beside the request path: what `hdx train`, `evaluate`, `score` and `index` do.

Exists so that the command line only reads words, and the pipelines only do work.
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress import Progress
from rich.table import Table

from configs.settings import Settings
from pipelines.datasets.feedback import Remark
from pipelines.detectors.base import Detail
from pipelines.detectors.members import registry
from pipelines.errors import InvalidInput, NotFound, Unavailable
from pipelines.machines.family import Family, family_names, read_family
from pipelines.promotion.mlflow_client import Registry, load_members, request_promotion
from pipelines.promotion.rollout import PromotionRequest
from pipelines.scoring.batch import fetch_members, score_many
from pipelines.scoring.plan import Options
from pipelines.scoring.score import names_anomaly, score
from pipelines.training.evaluate import Evaluation, Figures
from pipelines.training.evaluate import evaluate as judge_left_out
from pipelines.training.publish import log_evaluation, publish
from pipelines.training.run import Plan, learn
from pipelines.training.train import load

if TYPE_CHECKING:
    from pipelines.drift.report import Trace

# Newest words that a training reads. Source: own choice; several times the recordings of any family.
FEEDBACK_MAX = 20_000

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
    settings: Settings,
    name: str,
    data: Path | None,
    seed: int,
    promote: bool,
    feedback: bool,
    tenant: str,
    trials: int,
    workers: int,
    progress: Progress,
) -> Table:
    """Train and register every detector of a family.

    Args:
        settings: Name registry and database.
        name: The family.
        data: Recordings; None simulates them.
        seed: Of all that is drawn.
        promote: Make the new versions champions even where there are some.
        feedback: Learn from what people said of answers, too.
        tenant: Whose feedback; that of all tenants when empty.
        trials: Settings to try for each detector beside the shipped ones.
        workers: Processes that Ray runs at once; 1 trains in this process.
        progress: Shown on the terminal.
    """
    family, step = known_family(name), stepping(progress)
    remarks = asyncio.run(remarks_of(settings, family, tenant)) if feedback else []
    learned = learn(family, load(family, data, seed), remarks, Plan(seed, trials, workers), step)
    table = Table("model", "version", "AUC, groups left out", box=None)
    url, alias = settings.tracking_url, settings.models.alias
    for number, (bundle, tried, provenance) in enumerate(learned):
        step(f"register {bundle.card.detector}", number, len(learned))
        version = publish(bundle, family, url, alias, promote, provenance, tried)
        table.add_row(f"hdx-{family.name}-{bundle.card.detector}", version, f"{bundle.card.skill:.4f}")
    step("registered", len(learned), len(learned))
    return table


async def remarks_of(settings: Settings, family: Family, tenant: str) -> list[Remark]:
    """Return what people said of a family's windows, those of one tenant or of all.

    Raises:
        NotFound: There is no such tenant.
    """
    from serve_app.local.bootstrap import database
    from serve_app.store.repository import Store

    with database(settings) as (url, _):
        store = Store.open(url, 1)
        try:
            tenant_id = await store.tenants.get(tenant) if tenant else None
            found = await store.feedback.labelled(family.name, FEEDBACK_MAX, tenant_id)
        finally:
            await store.close()
    return [
        Remark(f"{each.tenant_id}/{each.system_id}", each.window, each.baseline, each.truth, each.component)
        for each in found
    ]


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
    from pipelines.training.report import render

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
    workers: int,
    progress: Progress,
) -> int:
    """Score a file with the champions of a family, or with some of them.

    Args:
        workers: Processes that Ray Data runs at once; 0 scores a file in this process, and a folder on every core.

    Raises:
        InvalidInput: A name is unknown, or the file breaks a rule.
    """
    family, step = known_family(name), stepping(progress)
    wanted = [word.strip() for word in detectors.split(",") if word.strip()] or list(registry())
    if unknown := set(wanted) - set(registry()):
        raise InvalidInput("detectors", sorted(unknown)[0], f"must be of {', '.join(registry())}")
    models = Registry(settings.tracking_url, settings.models.alias)

    def done(rows: int, total: int) -> None:
        step("score", rows, total)

    if workers or source.is_dir():
        options = Options.of(entity, order, settle, detail or names_anomaly(family))
        packed = fetch_members(models, family.name, wanted)
        return score_many(family, source, target, packed, options, workers or os.cpu_count() or 1, done)
    members = load_members(models, family.name, wanted)
    return score(family, source, target, members, entity, order, settle, done, detail)


def drift_file(
    settings: Settings,
    name: str,
    source: Path,
    entity: str,
    order: str,
    settle: int,
    report: Path | None,
    progress: Progress,
) -> Group:
    """Look for drift in a file with the champions of a family, or at its inputs alone where there are none.

    Raises:
        InvalidInput: A name is unknown, or the file breaks a rule.
    """
    from pipelines.drift.report import render_drift, trace

    family, step = known_family(name), stepping(progress)
    judged_by = "inputs, scores and normal"
    try:
        members = load_members(Registry(settings.tracking_url, settings.models.alias), family.name, list(registry()))
    except (NotFound, Unavailable) as error:
        members, judged_by = {}, f"inputs alone: {error}"

    def done(systems: int, total: int) -> None:
        step("follow", systems, total)

    traces = trace(family, source, members, entity, order, settle, done)
    if report:
        report.write_text(render_drift(family, traces), encoding="utf-8")
    return drift_tables(traces, judged_by)


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


def index_documents(settings: Settings, folder: Path | None, tenant: str, workers: int, progress: Progress) -> str:
    """Index a folder for a tenant, or the built-in knowledge for all; return what became of the files.

    Args:
        settings: Name index and encoder.
        folder: None for the built-in knowledge.
        tenant: Whose documents they are.
        workers: Encoders that Ray Data runs at once; 0 reads one file after the other in this process.
        progress: Shown on the terminal.
    """
    from pipelines.knowledge.ingest.bulk import index_many
    from pipelines.knowledge.ingest.ingest import articles, ingest, renew
    from pipelines.knowledge.search.encoder import Encoder
    from pipelines.knowledge.search.index import BUILT_IN, Index

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

    from pipelines.knowledge.answer.batch import answer_corpus, search_corpus
    from pipelines.knowledge.search.encoder import Encoder

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
    from serve_app.local.bootstrap import database
    from serve_app.store.repository import Store

    with database(settings) as (url, _):
        store = Store.open(url, 1)
        try:
            return await store.tenants.ensure(name)
        finally:
            await store.close()
