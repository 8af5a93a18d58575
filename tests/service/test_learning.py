"""Rules of learning: the same bytes from the same inputs, and what people say mends what was missed."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import orjson
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from configs.gates import read_gates
from configs.settings import Database, Settings
from pipelines.datasets.feedback import Remark
from pipelines.datasets.recordings import Recordings
from pipelines.datasets.simulator import HEALTHY, baseline_of, draw_unit, simulate, window_of
from pipelines.detectors.bundle import Bundle
from pipelines.detectors.members import registry
from pipelines.diagnosis.calibration import auc, log_loss
from pipelines.diagnosis.ensemble import decide
from pipelines.errors import NotFound
from pipelines.machines.commissioning import Normal
from pipelines.promotion.gates import broken, compared, labelled
from pipelines.signals.reading import make_feature_table
from pipelines.training.publish import logged_in
from pipelines.training.run import Plan, learn
from pipelines.training.train import examples_of, fit_member
from serve_app.cli.train import remarks_of, train_family
from serve_app.local.embedded import EmbeddedPostgres
from serve_app.shared.registry_access import access_of
from serve_app.store.migrate import create_database, migrate
from serve_app.store.records import StoredDiagnosis
from serve_app.store.repository import Store
from tests.contract.stand_ins import settings_for
from tests.service.learner import FAMILY, SEED, hashes
from tests.service.tracking import PASSWORD, tracking_server

# The fault that the recordings lack: a sensor whose reading stands still.
MISSED = "sensor_stuck"
ROOT = Path(__file__).parents[2]


# --- the same bytes


def test_training_again_gives_the_same_bytes() -> None:
    """Another process, feedback in another order, two workers in place of one: every file and card has its SHA-256."""
    command = [sys.executable, "-m", "tests.service.learner", "2"]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    trained = hashes(1, backwards=False)
    assert json.loads(again.stdout) == trained
    assert set(trained) == set(registry())


# --- what people say is learned


def steady_recordings(systems: int, windows: int, seed: int) -> Recordings:
    """Return windows of units in steady state: what is asked here is what people teach, not how machines differ."""
    random = np.random.default_rng(seed)
    units = [draw_unit(random) for _ in range(systems)]
    normals = [Normal.of(baseline_of(unit, FAMILY, random)) for unit in units]
    of = np.repeat(np.arange(systems), windows)
    known = FAMILY.heads["fault"].classes[1:]
    faults = np.where(random.random(len(of)) < 0.5, HEALTHY, random.choice(known, len(of)))
    sizes = np.where(faults == HEALTHY, 0.0, random.uniform(0.25, 1.0, len(of)))
    lengths = random.choice((3, 5, 10, 20, 60), len(of))
    found = [
        window_of(units[system], str(fault), float(size), int(length), random)
        for system, fault, size, length in zip(of, faults, sizes, lengths, strict=True)
    ]
    groups = np.array([f"system-{system:03d}" for system in of])
    labels = {"fault": faults, "severity": sizes}
    return Recordings(found, [normals[system] for system in of], labels, groups, groups, f"steady {seed}")


def some(recordings: Recordings, chosen: NDArray[np.bool_]) -> Recordings:
    """Return some of the windows."""
    rows = np.flatnonzero(chosen).tolist()
    return replace(
        recordings,
        windows=[recordings.windows[row] for row in rows],
        baselines=[recordings.baselines[row] for row in rows],
        labels={name: values[rows] for name, values in recordings.labels.items()},
        groups=recordings.groups[rows],
        parts=recordings.parts[rows],
    )


@pytest.fixture(scope="module")
def recorded() -> Recordings:
    """Recordings of machines, none of them with the fault that will be missed."""
    whole = steady_recordings(48, 24, SEED)
    return some(whole, whole.labels["fault"] != MISSED)


@pytest.fixture(scope="module")
def held_out() -> Recordings:
    """Windows of machines that nobody trains on or speaks of, with every fault."""
    return steady_recordings(48, 40, 99)


def members(recordings: Recordings, remarks: Sequence[Remark]) -> dict[str, Bundle]:
    learned = learn(FAMILY, recordings, remarks, Plan(SEED), lambda *_: None)
    return {each.bundle.card.detector: each.bundle for each in learned}


def figures(held: Recordings, by: dict[str, Bundle]) -> dict[str, float]:
    """Judge by what was learned: recall of the fault in windows of full length, and how all others rank.

    Full length, since of three coarse samples nobody can say that the reading stands still. Of the rules, which find a
    stuck sensor on any machine, nothing is asked: the fault stands here for one that only people know.
    """
    table = make_feature_table(held.windows, held.baselines, FAMILY)
    seconds = np.array([window.seconds for window in held.windows])
    votes = {name: bundle.votes(table, detail="score") for name, bundle in by.items()}
    found = decide(FAMILY, table, seconds, np.zeros(len(seconds), dtype=np.bool_), votes)
    scores, alarms = found.tally.score, found.is_anomaly
    missed, truth = held.labels["fault"] == MISSED, held.labels["fault"] != "healthy"
    known, full = np.isfinite(scores), seconds >= FAMILY.window_s
    return {
        "recall": float(alarms[missed & full].mean()),
        "auc": auc(scores[~missed], truth[~missed]),
        "far": float(alarms[~truth].mean()),
        "loss": float(log_loss(scores[known], truth[known]).mean()),
    }


async def spoken_of(url: str) -> tuple[str, list[bool]]:
    """Store windows that were answered without an alarm, and what two tenants said of them; return one's name."""
    more = steady_recordings(60, 40, 11)
    rows = [np.flatnonzero(more.labels["fault"] == fault)[:40] for fault in (MISSED, "healthy")]
    store = Store.open(url, 4)
    names = [uuid4().hex, uuid4().hex]
    systems: dict[str, tuple[int, int]] = {}
    try:
        tenants = [await store.tenants.ensure(name) for name in names]
        for number, row in enumerate(np.concatenate(rows).tolist()):
            machine, tenant_id = str(more.groups[row]), tenants[number % 2]
            key = f"{machine} {tenant_id}"
            if key not in systems:
                made = await store.systems.add(tenant_id, machine, FAMILY.name, "")
                systems[key] = (tenant_id, made.system_id)
            tenant_id, system_id = systems[key]
            window, normal = more.windows[row], more.baselines[row]
            stored = StoredDiagnosis(
                trace_id=uuid4(),
                system_id=system_id,
                family=FAMILY.name,
                created_at=datetime.now(UTC),
                window={"values": {n: v.tolist() for n, v in window.values.items()}, "rate_hz": window.rate_hz},
                answer=orjson.dumps({"prediction": {"is_anomaly": False}}),
                baseline=None if normal is None else normal.to_bytes(),
            )
            await store.diagnoses.record(tenant_id, stored, None)
            verdict = "missed" if number < len(rows[0]) else "confirmed"
            component = "sensor" if verdict == "missed" else None
            await store.feedback.give(tenant_id, stored.trace_id, verdict, component, "", "ann")  # type: ignore[arg-type]
    finally:
        await store.close()
    return names[0], [True] * len(rows[0]) + [False] * len(rows[1])


@pytest.fixture
def database(embedded: EmbeddedPostgres) -> str:
    """A migrated database of its own."""
    name = f"learning_{uuid4().hex}"
    create_database(embedded.url("postgres"), name)
    migrate(embedded.url(name))
    return embedded.url(name)


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Settings that name the database."""
    return settings_for(tmp_path, database=Database(url=SecretStr(database)))


async def test_feedback_mends_a_miss(
    settings: Settings, database: str, recorded: Recordings, held_out: Recordings
) -> None:
    """A fault that the recordings lack is missed; forty windows that people name make it show on other machines.

    What was known before is known as well as before, and labels the wrong way round do clear harm: the challenger that
    learned from people passes the gates in every member, the one that was misled in none that learns from labels.
    """
    tenant, truths = await spoken_of(database)
    remarks = await remarks_of(settings, FAMILY, "")
    assert sorted(remark.anomalous for remark in remarks) == sorted(truths)
    own = await remarks_of(settings, FAMILY, tenant)
    assert len(own) == len(remarks) // 2
    with pytest.raises(NotFound, match="tenant"):
        await remarks_of(settings, FAMILY, "nobody")
    live, mended = members(recorded, []), members(recorded, remarks)
    before, after = figures(held_out, live), figures(held_out, mended)
    lies = [remark._replace(anomalous=not remark.anomalous, component=None) for remark in remarks]
    wrong = members(recorded, lies)
    misled = figures(held_out, wrong)
    assert before["recall"] < 0.5
    assert after["recall"] > 0.75
    assert after["auc"] > before["auc"] - 0.02
    assert misled["recall"] < after["recall"] - 0.3
    assert misled["loss"] > after["loss"]
    verdicts = {name: verdict(held_out, live[name], mended[name]) for name in registry()}
    assert verdicts == dict.fromkeys(registry(), "")
    for name in [name for name, detector in registry().items() if detector.supervised]:
        assert verdict(held_out, mended[name], wrong[name]).startswith("calibration")
        assert verdict(held_out, live[name], turned(recorded, name)).startswith("disagreement")


def verdict(held: Recordings, live: Bundle, candidate: Bundle) -> str:
    """Ask the gates about windows that machines send, and those that people spoke of."""
    spoken = np.isin(held.labels["fault"], (MISSED, "healthy")) & (np.arange(len(held.windows)) % 4 == 0)
    rest = ~spoken & (held.labels["fault"] != MISSED)
    found = []
    for chosen in (rest, spoken):
        part = some(held, chosen)
        table = make_feature_table(part.windows, part.baselines, FAMILY)
        found.append([each.votes(table, detail="score").anomaly for each in (live, candidate)])
    truth = some(held, spoken).labels["fault"] == MISSED
    seen = compared(FAMILY.name, "2", found[0][0], found[0][1], FAMILY.severity.warning)
    return broken(seen + labelled(FAMILY.name, "2", found[1][0], found[1][1], truth), read_gates())


def turned(recorded: Recordings, name: str) -> Bundle:
    """Return a member that was taught the wrong way round."""
    examples = examples_of(recorded, FAMILY)
    wrong = replace(examples, anomaly=~examples.anomaly)
    return fit_member(registry()[name], FAMILY, wrong, SEED, recorded.fingerprint)


def recording(folder: Path) -> Path:
    """Write a Parquet file of a few machines, one row a window."""
    rows = [
        {
            "system": f"m{row % 8}",
            "fault": fault,
            **{n: v.tolist() for n, v in simulate(fault, 0.8, 60, row).values.items()},
        }
        for row, fault in enumerate(["healthy", "pump_wear", "healthy", "valve_lag", "cavitation", "healthy"] * 8)
    ]
    pd.DataFrame(rows).to_parquet(folder / "recordings.parquet")
    return folder / "recordings.parquet"


def test_a_run_says_how_to_make_it_again(settings: Settings, database: str, tmp_path: Path) -> None:
    """Data, feedback, split, seed, versions and trials stand in MLflow; what comes second is challenger alone."""
    import mlflow

    asyncio.run(spoken_of(database))
    with ExitStack() as stack:
        url = stack.enter_context(tracking_server(tmp_path))
        there = settings.model_copy(update={"mlflow_url": url, "mlflow_password": SecretStr(PASSWORD)})

        def train(feedback: bool, trials: int, promote: bool = False) -> None:
            remarks = asyncio.run(remarks_of(there, FAMILY, "")) if feedback else []
            data, plan = recording(tmp_path), Plan(SEED, trials)
            train_family(there, FAMILY, data, plan, remarks, promote, lambda *_: None)

        train(feedback=False, trials=0)
        client = mlflow.MlflowClient(url)
        stack.enter_context(logged_in(access_of(there)))
        name = "hdx-generic-xgboost"
        first = client.get_model_version_by_alias(name, "champion")
        assert dict(client.get_registered_model(name).aliases) == {"champion": "1"}
        train(feedback=True, trials=1)
        assert dict(client.get_registered_model(name).aliases) == {"champion": "1", "challenger": "2"}
        second = client.get_model_version_by_alias(name, "challenger")
        assert second.tags["data_fingerprint"] != first.tags["data_fingerprint"]
        run = client.get_run(str(second.run_id))
        assert run.data.params["feedback_rows"] == "80"
        assert run.data.params["folds"] == "4"
        assert run.data.params["seed"] == str(SEED)
        assert {"groups_per_fold", "python", "platform", "numpy", "catboost", "xgboost", "scikit-learn", "hdx"} <= set(
            run.data.params
        )
        query = f"tags.mlflow.parentRunId = '{second.run_id}'"
        nested = client.search_runs([run.info.experiment_id], query)
        assert len(nested) == 2
        assert all(np.isfinite(trial.data.metrics["log_loss"]) for trial in nested)
        train(feedback=False, trials=0, promote=True)
        third = client.get_model_version_by_alias(name, "champion")
        assert third.version == "3"
        assert third.tags["sha256"] == first.tags["sha256"]
