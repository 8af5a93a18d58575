"""Training on a family of one's own, on a real MLflow and PostgreSQL: from a definition to an answer with its votes."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from uuid import uuid4

import pandas as pd
import pytest
from fastapi.testclient import TestClient
from ray.serve import multiplex

from configs.settings import Settings
from deployments.detector import DetectorConfig
from deployments.ensemble import Ensemble
from pipelines.detectors.members import registry
from pipelines.detectors.untrained import BUILT_IN
from pipelines.errors import ArtefactRejected, InvalidInput
from pipelines.machines.family import digest_of
from pipelines.machines.labelling import OTHER_READING
from pipelines.promotion.mlflow_client import Registry, model_name
from pipelines.promotion.model_loader import take
from pipelines.promotion.tenant_models import TenantModels
from pipelines.training.labelled_family import LEAST_EACH
from pipelines.training.publish import logged_in, publish
from serve_app.api.app import create_app
from serve_app.families import FRESH_S
from serve_app.replicas.graph_ports import GraphDiagnoser
from serve_app.shared.registry_access import access_of, signer_of
from serve_app.store.repository import Store
from tests.contract.stand_ins import make_bench
from tests.service.test_commission_command import hdx
from tests.service.tracking import PASSWORD, tracking_server
from tests.unit.labelled_files import DEFINITION, PRESS, SECONDS, rows_of, samples, write_presses

TRAINED = [name for name, detector in registry().items() if detector.supervised]
DETECT = "/api/diagnostics/anomaly/detect/"


@dataclass
class Plant:
    """A tenant with a family `press` of its own, and the service as it sees it."""

    tenant: str
    client: TestClient
    models: TenantModels
    key: dict[str, str]
    folder: Path
    store_url: str

    def hdx(self, *words: str) -> str:
        return hdx(*words, "--tenant", self.tenant)

    def train(self, *words: str) -> str:
        printed = self.hdx("train", "--family", "press", *words)
        self.models.look()
        return printed

    @property
    def tenant_id(self) -> int:
        async def read() -> int:
            store = Store.open(self.store_url, 1)
            try:
                return await store.tenants.get(self.tenant)
            finally:
                await store.close()

        return asyncio.run(read())

    def machine(self, seed: int = 7) -> int:
        """Add a press that no training has seen, and commission it."""
        number = self.hdx("system", "new", f"Press {seed}", "--family", "press").strip()
        path = self.folder / f"press-{seed}.csv"
        lines = [line.split(";", 5)[1:5] for line in rows_of("p", [("", 24)], seed)]
        head = "time;pressure [bar];oil temperature [°C];motor current [A]"
        path.write_text("\n".join([head, *(";".join(line) for line in lines)]), encoding="utf-8")
        self.hdx("commission", number, "--data", str(path))
        return int(number)

    def detect(self, system: int, fault: str, seed: int) -> dict[str, Any]:
        columns = samples(fault, 1, 5000 + seed, 1 + 0.1 * (7 % 3 - 1)).T.tolist()
        data = dict(zip(PRESS.channels, columns, strict=True))
        reply = self.client.post(DETECT, json={"system_id": system, "sensor_data": data}, headers=self.key)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def replayed(self, answer: dict[str, Any]) -> dict[str, Any]:
        reply = self.client.post(f"/api/diagnostics/{answer['trace_id']}/replay/", headers=self.key)
        found: dict[str, Any] = reply.json()
        return found

    def say(self, answer: dict[str, Any], verdict: str, component: str | None = None) -> None:
        body = {"verdict": verdict} | ({"component": component} if component else {})
        place = f"/api/diagnostics/{answer['trace_id']}/feedback/"
        reply = self.client.post(place, json=body, headers=self.key)
        assert reply.status_code == 200, reply.text


def versions(answer: dict[str, Any]) -> dict[str, str]:
    return {vote["ml_model"]: vote["version"] for vote in answer["ml_predictions"] if vote["version"]}


async def key_of(url: str, name: str) -> dict[str, str]:
    """Make a tenant and a key of it."""
    store = Store.open(url, 1)
    try:
        key = uuid4().hex
        await store.keys.add(await store.tenants.ensure(name), "line", "engineer", sha256(key.encode()).digest())
    finally:
        await store.close()
    return {"x-api-key": key}


@pytest.fixture(scope="module")
def served(embedded_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Plant], str]]:
    """Two tenants that call a family alike, each with one definition of it, on one service; and its MLflow server."""
    folder = tmp_path_factory.mktemp("plants")
    context = SimpleNamespace(app_name="hdx", deployment="Detector", replica_id="r1")
    with pytest.MonkeyPatch.context() as patch, tracking_server(folder) as tracking:
        # Serve's multiplexing is to believe that it runs in a replica; its metrics would start a cluster.
        patch.setattr(multiplex, "_get_internal_replica_context", lambda: context)
        for name in ("ServeUsageTag", "MetricsPusher"):
            patch.setattr(multiplex, name, MagicMock())
        patch.chdir(folder)
        patch.setenv("HDX_DATABASE__URL", embedded_url)
        patch.setenv("HDX_MLFLOW_URL", tracking)
        patch.setenv("HDX_MLFLOW_PASSWORD", PASSWORD)
        patch.setenv("HDX_SECRET_KEY", "k" * 64)
        access = access_of(Settings())
        followed = {name: DetectorConfig(name, access, 60) for name in registry()}
        ensemble, models = Ensemble(followed, 2, 20), TenantModels(Registry(access), 60)
        diagnoser = GraphDiagnoser(ensemble.diagnose, ensemble.members, Settings(), models)
        services = replace(make_bench(folder).services, store=Store.open(embedded_url, 4), diagnoser=diagnoser)
        models.look()
        (folder / "press.yaml").write_text(DEFINITION, encoding="utf-8")
        write_presses(folder / "presses.csv")
        with TestClient(create_app(services)) as client:
            found = []
            for name in (uuid4().hex, uuid4().hex):
                key = asyncio.run(key_of(embedded_url, name))
                found.append(Plant(name, client, models, key, folder, embedded_url))
                found[-1].hdx("family", "new", "press", "--file", str(folder / "press.yaml"))
            yield found, tracking


@pytest.mark.timeout(1200, func_only=True)  # two trainings and many commands, beside another worker's tests
def test_own_labels_train_members(served: tuple[list[Plant], str]) -> None:
    """From labels in a file to votes that name the component, on a press that no training has seen.

    Another tenant's family of the same name and definition meets none of it; what was answered before replays as it
    was; the registry says what was learned on; and where the family is read otherwise they are not used, with reason.
    """
    (plant, other), tracking = served
    system, source, own = plant.machine(), str(plant.folder / "presses.csv"), plant.tenant_id
    before = plant.detect(system, "pump", 1)
    assert versions(before) == {"adaptive": BUILT_IN}
    assert "names pump, valve" in plant.train("--data", source, "--dry-run")
    assert versions(plant.detect(system, "", 2)) == {"adaptive": BUILT_IN}
    told = plant.train("--data", source)
    names = [model_name("press", detector, own) for detector in registry()]
    assert all(name in told and name in hdx("models") for name in names)
    for fault, seed in (("pump", 10), ("valve", 11), ("pump", 12), ("valve", 13)):
        answer = plant.detect(system, fault, seed)
        assert versions(answer) == dict.fromkeys(registry(), f"t{own}/1")
        assert answer["prediction"]["is_anomaly"], (fault, answer)
        assert answer["prediction"]["affected_components"] == [fault]
        assert plant.replayed(answer)["identical"]
    assert all(vote["weight"] > 0 for vote in answer["ml_predictions"]), answer
    grades = {each["component"]: each["grade"] for each in answer["prediction"]["components"]}
    assert grades == {"pump": 0, "valve": "stuck"}
    assert not plant.detect(system, "", 14)["prediction"]["is_anomaly"]
    assert plant.replayed(before)["identical"]
    scored_alike(plant)
    theirs = nothing_of_it(plant, other, answer)
    known_by(tracking, own)
    told = other.train("--data", source, "--label", "valve", "--seed", "8")
    foreign = other.detect(theirs, "valve", 3)
    assert versions(foreign)["catboost"] == f"t{other.tenant_id}/1"
    assert [each["component"] for each in foreign["prediction"]["components"]] == ["valve"]
    assert versions(plant.detect(system, "valve", 15)) == versions(answer)
    read_otherwise(plant, system)
    again = plant.replayed(answer)
    assert again["identical"], again["differences"]


def scored_alike(plant: Plant) -> None:
    """Check that offline scoring asks the same members: a pump that wears is called so from its first whole window."""
    path, target = plant.folder / "later.csv", plant.folder / "later.parquet"
    lines = [line.split(";", 5)[1:5] for line in rows_of("p", [("", 20), ("pump", 6)], 7)]
    head = "time;pressure [bar];oil temperature [°C];motor current [A]"
    path.write_text("\n".join([head, *(";".join(line) for line in lines)]), encoding="utf-8")
    plant.hdx("score", "--family", "press", str(path), str(target), "--settle", str(16 * SECONDS))
    found = pd.read_parquet(target)
    well, worn = found[16 * SECONDS : 20 * SECONDS], found[21 * SECONDS :]
    assert not (well["pred"] > 0).any()
    assert (worn["pred"] > 0).all()
    assert set(worn["anomaly_type"]) == {"pump"}


def nothing_of_it(owner: Plant, other: Plant, answer: dict[str, Any]) -> int:
    """Check that another tenant is judged by nothing of the owner's, sees nothing of it, and moves nothing."""
    theirs = other.machine()
    foreign = other.detect(theirs, "pump", 1)
    assert versions(foreign) == {"adaptive": BUILT_IN}
    assert foreign["prediction"]["components"] == []
    place = f"/api/diagnostics/{answer['trace_id']}"
    assert other.client.post(f"{place}/replay/", headers=other.key).status_code == 404
    with pytest.raises(InvalidInput, match="labels: must be at least"):
        other.train()  # the owner's feedback and labels are nothing to it
    name = model_name("press", "catboost", owner.tenant_id)
    reply = other.client.post(f"/api/models/{name}/promote/", json={"version": "1"}, headers=other.key)
    assert reply.status_code == 403
    return theirs


def known_by(tracking: str, tenant_id: int) -> None:
    """Check what the registry says of the models, and that they can be registered as nobody else's."""
    import mlflow

    client, name = mlflow.MlflowClient(tracking), model_name("press", "catboost", tenant_id)
    with logged_in(access_of(Settings())):
        made = client.get_model_version_by_alias(name, "champion")
        run = client.get_run(str(made.run_id))
        experiment = client.get_experiment(run.info.experiment_id)
    assert made.tags["definition"] == digest_of(DEFINITION)
    assert run.data.params["family_version"] == "1"
    assert experiment.name == f"hdx-press.t{tenant_id}"
    access, signer = access_of(Settings()), signer_of(Settings())
    source = Registry(access)
    held = take(source, name, str(made.version))
    assert held.bundle.card.definition == DEFINITION
    assert [label.component for label in held.bundle.card.labels] == ["pump", "valve"]
    assert not any("pump" in file for file in held.files)
    with pytest.raises(InvalidInput, match="whose family press is"):
        publish(held.bundle, PRESS, access, signer, promote=False)
    shipped = replace(held.bundle, card=replace(held.bundle.card, family="generic"))
    publish(shipped, PRESS, access, signer, promote=False, tenant_id=tenant_id + 10_000)
    with pytest.raises(ArtefactRejected, match="shipped"):
        take(source, model_name("generic", "catboost", tenant_id + 10_000), "1")


def read_otherwise(plant: Plant, system: int) -> None:
    """Check that another title changes nothing, and that with other levels the built-in member judges alone."""
    file, now = plant.folder / "press.yaml", f"t{plant.tenant_id}/1"
    file.write_text(DEFINITION.replace('"Press"', '"Deep drawing"'), encoding="utf-8")
    plant.hdx("family", "change", "press", "--file", str(file))
    renamed = changed(plant, system, 2)
    assert versions(renamed) == dict.fromkeys(registry(), now)
    file.write_text(DEFINITION.replace('"typical":180', '"typical":200'), encoding="utf-8")
    plant.hdx("family", "change", "press", "--file", str(file))
    other = changed(plant, system, 3)
    assert versions(other) == {"adaptive": BUILT_IN}
    reasons = {vote["ml_model"]: vote.get("reason") for vote in other["ml_predictions"]}
    assert {reasons[name] for name in TRAINED} == {OTHER_READING}
    for answer in (renamed, other):
        assert plant.replayed(answer)["identical"]


def changed(plant: Plant, system: int, seed: int) -> dict[str, Any]:
    """Return an answer once this replica has seen a change of the family."""
    time.sleep(FRESH_S + 0.5)
    return plant.detect(system, "pump", 40 + seed)


def test_feedback_alone_trains(served: tuple[list[Plant], str]) -> None:
    """What people said of answers names the components by their own words; too little says how much is needed."""
    (first, _), _ = served
    plant = replace(first, tenant=uuid4().hex)
    plant.key = asyncio.run(key_of(plant.store_url, plant.tenant))
    (plant.folder / "press.yaml").write_text(DEFINITION, encoding="utf-8")
    plant.hdx("family", "new", "press", "--file", str(plant.folder / "press.yaml"))
    system = plant.machine()
    with pytest.raises(InvalidInput, match=f"at least {LEAST_EACH} anomalous"):
        plant.train()
    for seed in range(16):
        alarm = plant.detect(system, "pump", seed)
        plant.say(alarm, "confirmed" if alarm["prediction"]["is_anomaly"] else "missed", "Насос 1")
        calm = plant.detect(system, "", 100 + seed)
        plant.say(calm, "false_alarm" if calm["prediction"]["is_anomaly"] else "confirmed")
    assert "feedback: 32 windows, 16 of them anomalous" in plant.train("--dry-run")
    plant.train()
    answer = plant.detect(system, "pump", 500)
    assert versions(answer) == dict.fromkeys(registry(), f"t{plant.tenant_id}/1")
    assert answer["prediction"]["affected_components"] == ["Насос 1"]
    assert plant.replayed(answer)["identical"]
    source = str(plant.folder / "presses.csv")
    assert "names pump, valve, Насос 1" in plant.train("--data", source, "--feedback", "--dry-run")
