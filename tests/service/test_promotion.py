"""Rules of the lifecycle, on a real MLflow server."""

import asyncio
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from ray.serve.handle import DeploymentHandle

from configs.gates import read_gates
from deployments.detector import DetectorConfig, Member
from pipelines.datasets.simulator import simulate
from pipelines.detectors.base import FeatureTable
from pipelines.detectors.bundle import Bundle
from pipelines.detectors.members import registry
from pipelines.diagnosis.ensemble import judge
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.errors import ArtefactRejected, HdxError, Unavailable
from pipelines.machines.family import read_family
from pipelines.promotion.backtest import StoredWindow, run_backtest
from pipelines.promotion.mlflow_client import Registry, load_members
from pipelines.promotion.model_loader import ROWS, ModelLoader
from pipelines.promotion.rollout import Assignment
from pipelines.promotion.signing import SIGNATURE
from pipelines.scoring.score import score
from pipelines.signals.reading import make_feature_table
from pipelines.training.publish import log_evaluation, logged_in, publish
from tests.service.tracking import SIGNER, access_to, registry_at, tracking_server

FAMILY = read_family("generic")
NAMES = tuple(registry())
GATES = read_gates()


@dataclass(frozen=True)
class Mlflow:
    """A tracking server and the folder of its artefacts."""

    url: str
    artefacts: Path


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """Start a server as `hdx run` does, over SQLite."""
    folder = tmp_path_factory.mktemp("mlflow")
    with tracking_server(folder) as url:
        yield Mlflow(url, folder / "artefacts")


@pytest.fixture(scope="module")
def published(mlflow: Mlflow, bundles: dict[str, Bundle]) -> Registry:
    """Register the first version of every detector."""
    for bundle in bundles.values():
        assert publish(bundle, FAMILY, access_to(mlflow.url), SIGNER, promote=False) == "1"
    return registry_at(mlflow.url)


def test_what_is_fetched_votes_as_what_was_trained(published: Registry, bundles: dict[str, Bundle]) -> None:
    """A champion found by its alias votes bit for bit as the bundle that was registered."""
    windows = [simulate("pump_wear", 0.7, 5, seed) for seed in range(5)]
    table = make_feature_table(windows, [None] * 5, FAMILY)
    for name, member in load_members(published, "generic", NAMES).items():
        mine, theirs = bundles[name].votes(table), member.votes(table)
        np.testing.assert_array_equal(mine.anomaly, theirs.anomaly)
        for head in mine.heads:
            np.testing.assert_array_equal(mine.heads[head], theirs.heads[head])
    assert published.champion("rig", "catboost") is None


def test_the_version_carries_its_evidence(mlflow: Mlflow, published: Registry) -> None:
    """MLflow shows the alias, the hash, the data's fingerprint, the held-out skill, a card and a signature."""
    import mlflow as library

    release = published.champion("generic", "xgboost")
    assert release is not None
    with logged_in(access_to(mlflow.url)):
        client = library.MlflowClient()
        version = client.get_model_version_by_alias("hdx-generic-xgboost", "champion")
        run = client.get_run(str(version.run_id))
        signature = library.models.get_model_info(f"models:/hdx-generic-xgboost/{version.version}").signature
    assert version.tags["sha256"] == release.sha256
    assert len(version.tags["data_fingerprint"]) == 64
    assert run.data.metrics["skill_auc"] > 0.8
    assert run.data.params["seed"] == "3"
    assert "pressure_mean" in signature.inputs.input_names()
    assert "fault=pump_wear" in signature.outputs.input_names()
    assert "seed 3" in (version.description or "")


def test_an_evaluation_is_logged_with_its_page(mlflow: Mlflow) -> None:
    """The run stands in the family's experiment with the figures that are numbers, the page and the fingerprint."""
    import mlflow as library

    row = {"name": "ensemble", "auc": 0.9, "f1": 0.8, "far": 0.1, "mar": None, "ece": 0.02, "abstained": 0.0}
    run_id = log_evaluation(FAMILY, {"panels": [row], "fingerprint": "f" * 64}, "<p>page</p>", access_to(mlflow.url))
    with logged_in(access_to(mlflow.url)):
        client = library.MlflowClient()
        run, pages = client.get_run(run_id), {file.path for file in client.list_artifacts(run_id)}
    assert run.data.metrics["ensemble_auc"] == 0.9
    assert "ensemble_mar" not in run.data.metrics
    assert run.data.tags["data_fingerprint"] == "f" * 64
    assert pages == {"evaluation.html", "evaluation.json"}


def test_a_champion_moves_only_when_told(mlflow: Mlflow, published: Registry, bundles: dict[str, Bundle]) -> None:
    """A second version leaves the alias where it is; with `promote` it moves, and a loader moves along."""
    loader = ModelLoader(published, "adaptive", ["generic"])
    loader.refresh()
    assert [status.version for status in loader.statuses()] == ["1"]
    assert publish(bundles["adaptive"], FAMILY, access_to(mlflow.url), SIGNER, promote=False) == "2"
    loader.refresh()
    assert [status.version for status in loader.statuses()] == ["1"]
    assert publish(bundles["adaptive"], FAMILY, access_to(mlflow.url), SIGNER, promote=True) == "3"
    loader.refresh()
    (status,) = loader.statuses()
    assert (status.version, status.scored_probe, status.reason) == ("3", True, "")


def test_a_follower_keeps_what_it_has(mlflow: Mlflow, published: Registry) -> None:
    """A removed artefact and a dead registry are reported, and the version held goes on voting."""
    loader = ModelLoader(published, "random_forest", ["generic"])
    loader.refresh()
    release = published.champion("generic", "random_forest")
    assert release is not None
    artefact = next((mlflow.artefacts / release.path).glob("*.onnx"))
    content = artefact.read_bytes()
    artefact.unlink()
    loader.refresh()
    (status,) = loader.statuses()
    assert not status.scored_probe
    assert "missing" in status.reason
    table = make_feature_table([simulate("healthy", 0.0, 5, 1)], [None], FAMILY)
    assert np.isfinite(loader.vote("generic", table).anomaly).all()
    artefact.write_bytes(content)
    loader.refresh()
    assert loader.statuses()[0].scored_probe

    lost = ModelLoader(registry_at("http://127.0.0.1:1"), "random_forest", ["generic"])
    lost.refresh()
    assert lost.statuses()[0].reason == "registry: does not answer"
    with pytest.raises(Unavailable):
        lost.vote("generic", table)


def assignment(live: str, candidate: str = "", stage: str = "", share: float = 0.0) -> dict[str, Assignment]:
    return {"generic": Assignment(live, "", candidate, stage, share)}


def feature_table_of(count: int) -> FeatureTable:
    windows = [simulate("healthy" if seed % 4 else "pump_wear", 0.8, 60, seed) for seed in range(count)]
    return make_feature_table(windows, [None] * count, FAMILY)


def again(bundle: Bundle, note: str, mlflow: Mlflow) -> str:
    """Register a bundle once more, under another card."""
    noted = replace(bundle, card=replace(bundle.card, notes=(note,)))
    return publish(noted, FAMILY, access_to(mlflow.url), SIGNER, promote=False)


def test_a_shadow_sees_copies_and_answers_nobody(
    mlflow: Mlflow, published: Registry, bundles: dict[str, Bundle]
) -> None:
    """A candidate scores a bounded copy of live windows; every answer stays the live version's, bit for bit."""
    version = again(bundles["xgboost"], "shadow", mlflow)
    loader, table = ModelLoader(published, "xgboost", ["generic"]), feature_table_of(24)
    loader.steer(assignment("1"))
    before = loader.vote("generic", table)
    loader.steer(assignment("1", version, "shadow"))
    for _ in range(20):
        votes = loader.vote("generic", table, "full", np.linspace(0, 1, 24))
    assert set(votes.versions) == {"1"}
    np.testing.assert_array_equal(votes.anomaly, before.anomaly)
    assert loader.score_shadow()
    assert not loader.score_shadow()
    (evidence,) = loader.report().evidence
    assert evidence.windows == GATES.copies * ROWS  # of twenty batches; the others were let go
    assert (evidence.errors, evidence.flips, evidence.served) == (0, 0, 0)
    assert len(evidence.ratios) == 1


def test_a_canary_answers_its_share_always_the_same(
    mlflow: Mlflow, published: Registry, bundles: dict[str, Bundle]
) -> None:
    """The candidate answers a tenth of the systems, the same ones each time, and its number stands on those alone."""
    version = again(bundles["xgboost"], "canary", mlflow)
    loader, table = ModelLoader(published, "xgboost", ["generic"]), feature_table_of(400)
    loader.steer(assignment("1", version, "canary", 0.1))
    hash_buckets = np.random.default_rng(1).random(400)
    first, second = (loader.vote("generic", table, "full", hash_buckets).versions for _ in range(2))
    assert first == second
    assert 0.05 < first.count(version) / 400 < 0.16
    assert loader.report().evidence[0].served == 2 * first.count(version)
    loader.steer(assignment(version))
    assert set(loader.vote("generic", table, "full", hash_buckets).versions) == {version}


def test_a_candidate_that_raises_fails_no_answer(
    mlflow: Mlflow, published: Registry, bundles: dict[str, Bundle]
) -> None:
    """Where it fails the live version's answer stands, and the failure is counted."""
    good = bundles["random_forest"]
    files = good.detector.save()
    filling = json.loads(files["filling.json"])
    # The canary asks for the score alone: the heads are first asked by a live window.
    filling["width"] = {name: 1 if name.startswith("head") else width for name, width in filling["width"].items()}
    detector = registry()["random_forest"].load({**files, "filling.json": json.dumps(filling).encode()})
    version = again(Bundle(good.card, detector), "raises", mlflow)
    loader, table = ModelLoader(published, "random_forest", ["generic"]), feature_table_of(40)
    loader.steer(assignment("1"))
    before = loader.vote("generic", table)
    loader.steer(assignment("1", version, "canary", 1.0))
    votes = loader.vote("generic", table, "full", np.zeros(40))
    assert set(votes.versions) == {"1"}
    np.testing.assert_array_equal(votes.anomaly, before.anomaly)
    assert loader.report().evidence[0].errors == 40


def test_two_versions_stay_in_memory(mlflow: Mlflow, published: Registry, bundles: dict[str, Bundle]) -> None:
    """The live one and the one before are held, so that going back needs no registry; older ones are let go."""
    versions = ["1", *(again(bundles["adaptive"], f"resident {n}", mlflow) for n in range(2))]
    loader = ModelLoader(published, "adaptive", ["generic"])
    for before, live in pairwise(["", *versions]):
        loader.steer({"generic": Assignment(live, before)})
    assert set(loader.report().ready["generic"]) == set(versions[1:])
    published_away = loader._registry
    loader._registry = registry_at("http://127.0.0.1:1")
    loader.steer({"generic": Assignment(versions[1], versions[2])})
    assert loader.statuses()[0].version == versions[1]
    loader._registry = published_away


def lie(files: dict[str, bytes], kind: str) -> dict[str, bytes]:
    """Return what a lying registry hands out under a card whose hash is right."""
    card = json.loads(files["card.json"])
    if kind == "pickle":
        files = files | {"model.pkl": pickle.dumps({"weights": [1.0]})}
        card["files"]["model.pkl"] = sha256(files["model.pkl"]).hexdigest()
    if kind == "unreadable":
        files = {name: b"no model" if name.endswith(".cbm") else content for name, content in files.items()}
        card["files"] = {name: sha256(files[name]).hexdigest() for name in card["files"]}
    if kind == "field":
        card["files"] = None
    if kind == "features":
        card["features"] = card["features"][:-1]
    return files | {"card.json": json.dumps(card).encode()}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("bytes", "SHA-256"),
        ("card", "not the registered one"),
        ("pickle", "is none of"),
        ("features", "signature names other features"),
        ("signature", "has no signature"),
        ("unreadable", "cannot be read"),
        ("field", "cannot be read"),
    ],
)
def test_a_lying_registry_changes_nothing(
    mlflow: Mlflow, published: Registry, bundles: dict[str, Bundle], kind: str, reason: str
) -> None:
    """What is wrong though it is signed is named, and the live one stays: bytes, card, pickle, features, no model."""
    version = told(mlflow, published, bundles["catboost"], kind)
    loader, table = ModelLoader(published, "catboost", ["generic"]), feature_table_of(5)
    loader.steer(assignment("1", version, "shadow"))
    assert set(loader.vote("generic", table).versions) == {"1"}
    report = loader.report()
    assert reason in report.rejected["generic"][version]
    assert report.ready["generic"] == ("1",)


def told(mlflow: Mlflow, published: Registry, bundle: Bundle, kind: str) -> str:
    """Register a version of CatBoost, let the registry lie about it, and return its number."""
    version = again(bundle, f"lie {kind}", mlflow)
    release = published.release("hdx-generic-catboost", version)
    folder = mlflow.artefacts / release.path
    if kind == "bytes":
        path = next(folder.glob("*.cbm"))
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    elif kind == "card":
        (folder / "card.json").write_bytes((folder / "card.json").read_bytes() + b" ")
    elif kind == "signature":
        (folder / "MLmodel").write_text("flavors: {hdx: {}}\n")
    else:
        files = lie({file.name: file.read_bytes() for file in folder.iterdir() if file.name != "MLmodel"}, kind)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        published.note("hdx-generic-catboost", version, sha256=sha256(files["card.json"]).hexdigest())
    signed = SIGNER.sign("hdx-generic-catboost", version, {file.name: file.read_bytes() for file in folder.iterdir()})
    published.note("hdx-generic-catboost", version, **{SIGNATURE: signed})
    return version


def test_a_live_version_that_cannot_be_had_holds_up_no_other(
    mlflow: Mlflow, published: Registry, bundles: dict[str, Bundle]
) -> None:
    """What shall answer next is loaded, and other families are looked at, where a live version cannot be read."""
    version = told(mlflow, published, bundles["catboost"], "unreadable")
    loader = ModelLoader(published, "catboost", ["generic", "rig"])
    loader.steer({"generic": Assignment(version, "", "1", "urgent")})
    assert [status.reason for status in loader.statuses()] == ["model: cannot be read: ValueError"]
    assert loader.report().ready["generic"] == ("1",)


async def test_a_replica_outlives_a_version_that_cannot_be_read(
    mlflow: Mlflow, published: Registry, bundles: dict[str, Bundle]
) -> None:
    """It starts beside such a version, says why it has none, and follows the registry to the next."""
    version = told(mlflow, published, bundles["catboost"], "unreadable")
    published.point("hdx-generic-catboost", "follow", version)
    member = Member(DetectorConfig("catboost", access_to(mlflow.url, "follow"), 1))
    (status,) = await member.members()
    assert (status.version, status.scored_probe) == ("", False)
    assert "cannot be read" in status.reason
    published.point("hdx-generic-catboost", "follow", "1")
    await eventually(lambda: [each.version for each in member._loader.statuses()] == ["1"])


async def test_a_replica_outlives_whatever_a_look_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thread and report go on after an error that nobody foresaw."""
    looks, reports = [], []

    def look() -> None:
        looks.append(1)
        raise KeyError("version")

    async def report(_: object) -> dict[str, Assignment]:
        reports.append(1)
        raise KeyError("version")

    promoter = cast(DeploymentHandle[Any], SimpleNamespace(report=SimpleNamespace(remote=report)))
    member = Member(DetectorConfig("catboost", access_to("http://127.0.0.1:1"), 0.5), promoter)
    monkeypatch.setattr(member._loader, "refresh", look)
    await member.check_health()
    await eventually(lambda: len(looks) > 1 and len(reports) > 1)


def stored(count: int, baseline: bytes | None = None) -> list[StoredWindow]:
    windows = [simulate("healthy", 0.0, 60, seed) for seed in range(count)]
    plain = [{"values": {n: v.tolist() for n, v in window.values.items()}, "rate_hz": 1.0} for window in windows]
    return [StoredWindow(window, baseline, None) for window in plain]


def test_a_stored_window_that_cannot_be_read_is_no_word_against_a_candidate(published: Registry) -> None:
    """Rows of wrong bytes are passed over; the candidate is compared on the others."""
    rows = [*stored(3), *stored(2, b"wrong"), StoredWindow({"values": {"flow": ["much"]}, "rate_hz": 1.0}, None, None)]
    found = run_backtest(published, "generic", "hdx-generic-xgboost", ("1", "1"), rows)
    assert (found.windows, found.errors) == (3, 0)
    nothing = run_backtest(published, "generic", "hdx-generic-xgboost", ("1", "1"), rows[3:])
    assert (nothing.windows, nothing.errors) == (0, 0)


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.1)
    pytest.fail("does not come true")


def test_a_registry_that_dies_midway_changes_nothing(mlflow: Mlflow, bundles: dict[str, Bundle]) -> None:
    """A candidate that cannot be had now is not rejected: it is taken once the registry answers again."""
    version = again(bundles["adaptive"], "later", mlflow)
    source = registry_at(mlflow.url)
    loader = ModelLoader(source, "adaptive", ["generic"])
    loader.steer(assignment("1"))
    loader._registry = registry_at("http://127.0.0.1:1")
    loader.steer(assignment("1", version, "shadow"))
    report = loader.report()
    assert (report.ready["generic"], report.rejected) == (("1",), {})
    assert report.statuses[0].version == "1"
    loader._registry = source
    loader.steer(assignment("1", version, "shadow"))
    assert set(loader.report().ready["generic"]) == {"1", version}


def test_a_changed_file_is_rejected(mlflow: Mlflow, published: Registry) -> None:
    """A file or a card that is not the registered one never loads."""
    release = published.champion("generic", "catboost")
    assert release is not None
    for name in ("*.cbm", "card.json"):
        path = next((mlflow.artefacts / release.path).glob(name))
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ArtefactRejected):
            load_members(published, "generic", ["catboost"])
        path.write_bytes(content)
    assert load_members(published, "generic", ["catboost"])


def test_windows_are_scored_by_the_code_that_serves(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """One row a window, columns by channel: keys are kept, and the scores are those of `judge` bit for bit."""
    windows = [simulate(fault, 0.8, 5, seed) for seed, fault in enumerate(("healthy", "pump_wear", "cavitation"))]
    rows = [{"id": f"w{i}", **{n: v.tolist() for n, v in w.values.items()}} for i, w in enumerate(windows)]
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pd.DataFrame(rows).to_parquet(source)
    assert score(FAMILY, source, target, bundles, "", "", 0, lambda *_: None) == 3
    found = pd.read_parquet(target)
    assert found["id"].tolist() == ["w0", "w1", "w2"]
    assert {"score", "pred", "confidence", "p_pump", "cls_pump"} <= set(found.columns)
    table = make_feature_table(windows, [None] * 3, FAMILY)
    votes = {name: bundle.votes(table) for name, bundle in bundles.items()}
    judged = judge(FAMILY, [Inspection(w, "generic") for w in windows], table, votes, {}, 1)
    assert found["score"].tolist() == [d.score for d in judged if isinstance(d, Diagnosis)]
    assert found["pred"].tolist() == [0, 1, 1]


def test_rows_of_any_shape_score_alike(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """A window scores bit for bit the same among windows of its own length and channels, and among any others."""
    rows = [{n: v.tolist() for n, v in simulate("pump_wear", 0.5, 60, seed).values.items()} for seed in range(4)]
    odd = {"pressure": [100.0, 101.0, 100.0], "flow": None, "temperature": [45.0] * 3, "vibration": [0.5] * 3}
    found = []
    for name, content in (("alike", rows), ("mixed", [*rows, odd])):
        source, target = tmp_path / f"{name}.parquet", tmp_path / f"{name}-out.parquet"
        pd.DataFrame(content).to_parquet(source)
        score(FAMILY, source, target, bundles, "", "", 0, lambda *_: None)
        found.append(pd.read_parquet(target)[:4])
    alone, among_others = found
    pd.testing.assert_frame_equal(alone, among_others, check_exact=True)


def test_a_row_nobody_can_judge_says_so(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """It stands in the table undecided, with the reason and no confidence, beside rows that are judged."""
    strange = simulate("healthy", 0.0, 5, 1, {"pressure": 400.0, "temperature": 45.0, "flow": 300.0, "vibration": 9.0})
    rows = [{n: v.tolist() for n, v in w.values.items()} for w in (strange, simulate("healthy", 0.0, 5, 2))]
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pd.DataFrame(rows).to_parquet(source)
    score(FAMILY, source, target, bundles, "", "", 0, lambda *_: None)
    silent, judged = pd.read_parquet(target).to_dict("records")
    assert (silent["score"], silent["pred"], silent["confidence"], silent["severity"]) == (0.5, 0, 0.0, "unknown")
    assert "outside the range" in silent["abstained"]
    assert (judged["abstained"], judged["severity"]) == ("", "normal")


def test_samples_are_scored_without_looking_ahead(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """One row a sample: later samples change no earlier score, whatever order the rows come in."""
    window = simulate("healthy", 0.0, 80, 5)
    frame = pd.DataFrame({**window.values, "file": "a", "step": range(80)})
    adaptive = {"adaptive": bundles["adaptive"]}

    def scored(rows: pd.DataFrame) -> pd.Series:
        source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
        rows.to_parquet(source)
        score(FAMILY, source, target, adaptive, "file", "step", 40, lambda *_: None)
        return pd.read_parquet(target).set_index("step")["score"].sort_index()

    whole = scored(frame)
    changed = frame.copy()
    changed.loc[60:, "flow"] *= 0.7
    again = scored(changed.sample(frac=1, random_state=2))
    assert (whole[:60] == again[:60]).all()
    assert again[65:].mean() > whole[65:].mean()


def test_bad_samples_are_refused_by_row(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """A sample out of the family's range names its row; one that is not known leaves its channel out of its windows."""
    frame = pd.DataFrame({**simulate("healthy", 0.0, 20, 5).values, "file": "a"})
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    frame.loc[7, "flow"] = np.nan
    frame.to_parquet(source)
    assert score(FAMILY, source, target, bundles, "file", "", 0, lambda *_: None) == 20
    frame.loc[9, "flow"] = -999.0
    frame.to_parquet(source)
    with pytest.raises(HdxError, match=r"row\[9\]\.flow.*1000 l/min"):
        score(FAMILY, source, target, bundles, "file", "", 0, lambda *_: None)


def test_bad_recordings_are_refused_by_row(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """A value out of the family's range names its row, its channel and the rule."""
    source = tmp_path / "in.parquet"
    pd.DataFrame([{"id": 1, "pressure": [1.0, 2.0, 3.0]}, {"id": 2, "pressure": [1.0, 9e9, 3.0]}]).to_parquet(source)
    with pytest.raises(HdxError, match=r"row\[1\]\.pressure\[1\].*700 bar"):
        score(FAMILY, source, tmp_path / "out.parquet", bundles, "", "", 0, lambda *_: None)
