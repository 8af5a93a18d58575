"""Rules of tenants' own models, on a real MLflow server: who gets which, what is held, and what is never mixed up."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import httpx
import numpy as np
import pytest
from ray.serve import multiplex

from configs.settings import Models, Settings
from deployments.detector import OWN_MAX, DetectorConfig, Member
from deployments.ensemble import Ensemble
from pipelines.datasets.simulator import simulate
from pipelines.detectors.bundle import Bundle
from pipelines.detectors.members import registry
from pipelines.diagnosis.records import Inspection, Judgement, Versions
from pipelines.errors import NotFound
from pipelines.machines.family import read_family
from pipelines.promotion.mlflow_client import Registry, model_name, request_promotion
from pipelines.promotion.rollout import PromotionRequest
from pipelines.promotion.tenant_models import TenantModels
from pipelines.signals.reading import make_feature_table
from pipelines.training.publish import publish
from serve_app.replicas.graph_ports import GraphDiagnoser
from tests.serve.promotions import give
from tests.service.tracking import SIGNER, access_to, registry_at, tracking_server

FAMILY = read_family("generic")
SEVEN, EIGHT, NINE = 7, 8, 9
WINDOW = simulate("pump_wear", 0.4, 5, 1)


@dataclass(frozen=True)
class House:
    """A tracking server with shared models of all detectors, and what they are.

    Attributes:
        artefacts: Where the server keeps files.
    """

    url: str
    artefacts: Path
    bundles: dict[str, Bundle]

    def registry(self) -> Registry:
        return registry_at(self.url)

    def register(self, detector: str, tenant_id: int, slope: float) -> Bundle:
        """Register an own model that is surer or less sure than the shared one, and make it champion."""
        bundle = self.bundles[detector]
        own = Bundle(replace(bundle.card, slope=bundle.card.slope * slope), bundle.detector)
        publish(own, FAMILY, access_to(self.url), SIGNER, promote=True, tenant_id=tenant_id)
        return own

    def retire(self, detector: str, tenant_id: int) -> None:
        """Take the champion's alias away."""
        alias = {"name": model_name("generic", detector, tenant_id), "alias": Models().alias}
        url = f"{self.url}/api/2.0/mlflow/registered-models/alias"
        httpx.request("DELETE", url, json=alias, auth=access_to(self.url).login).raise_for_status()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Bundle]) -> Iterator[House]:
    """One server for the module."""
    folder = tmp_path_factory.mktemp("own")
    with tracking_server(folder) as url:
        for bundle in bundles.values():
            publish(bundle, FAMILY, access_to(url), SIGNER, promote=False)
        yield House(url, folder / "artefacts", bundles)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Serve's multiplexing believe that it runs in a replica."""
    context = SimpleNamespace(app_name="hdx", deployment="Detector", replica_id="r1")
    monkeypatch.setattr(multiplex, "_get_internal_replica_context", lambda: context)
    for name in ("ServeUsageTag", "MetricsPusher"):  # both would start a cluster
        monkeypatch.setattr(multiplex, name, MagicMock())


class Graph:
    """The detect path in one process, with a look into what the ensemble was asked."""

    def __init__(self, house: House) -> None:
        followed = {name: DetectorConfig(name, access_to(house.url), 60) for name in registry()}
        self.ensemble = Ensemble(followed, 2, 5)
        self.tenant_models = TenantModels(house.registry(), 60)
        self.batches: list[list[Inspection]] = []
        self.diagnoser = GraphDiagnoser(self.diagnose, self.ensemble.members, Settings(), self.tenant_models)
        self.tenant_models.look()

    async def diagnose(self, inspections: Sequence[Inspection]) -> Sequence[Judgement | Exception]:
        self.batches.append(list(inspections))
        return await self.ensemble.diagnose(inspections)

    async def ask(self, owner: int, versions: Versions = ()) -> Judgement:
        return await self.diagnoser.diagnose(Inspection(WINDOW, "generic", versions=versions, owner=owner))


@pytest.fixture
async def graph(house: House, inside: None) -> AsyncIterator[Graph]:
    """A new one for each test: nothing is held of a tenant yet."""
    yield Graph(house)


def voted(judgement: Judgement, detector: str) -> float | None:
    """Return a detector's score."""
    votes = json.loads(judgement.findings)["ml_predictions"]
    found: float | None = next(vote["prediction_score"] for vote in votes if vote["ml_model"] == detector)
    return found


def score(bundle: Bundle) -> float:
    return float(bundle.votes(make_feature_table([WINDOW], [None], FAMILY)).anomaly[0])


async def test_a_batch_of_many_tenants_gives_each_its_own(house: House, graph: Graph) -> None:
    """Windows that come together meet their own tenant's model where it has one, and else the shared one."""
    mine, theirs = house.register("catboost", SEVEN, 0.5), house.register("catboost", EIGHT, 2.0)
    graph.tenant_models.look()
    asked = [SEVEN, NINE, EIGHT, 0, NINE, SEVEN, EIGHT]
    found = await asyncio.gather(*map(graph.ask, asked))
    shared = house.bundles["catboost"]
    expected = {SEVEN: mine, EIGHT: theirs, NINE: shared, 0: shared}
    assert len({score(bundle) for bundle in (mine, theirs, shared)}) == 3
    for owner, judgement in zip(asked, found, strict=True):
        assert voted(judgement, "catboost") == pytest.approx(score(expected[owner]))
        assert judgement.versions["catboost"].startswith(f"t{owner}/" if owner in (SEVEN, EIGHT) else "1")
        assert judgement.versions["adaptive"] == "1"


async def test_tenants_without_own_models_stay_together(house: House, graph: Graph) -> None:
    """However many they are, their windows are one group, and those of a tenant with own models go beside them."""
    house.register("catboost", SEVEN, 0.5)
    graph.tenant_models.look()
    await asyncio.gather(*(graph.ask(owner) for owner in [*range(20, 60), SEVEN, SEVEN]))
    mixed = [{inspection.own != () for inspection in batch} for batch in graph.batches]
    assert all(len(kinds) == 1 for kinds in mixed)
    assert len(graph.batches) <= 4  # the first window of each kind leaves alone, the others together


async def test_an_own_model_is_followed(house: House, graph: Graph) -> None:
    """The next look at the directory swaps the version; without a champion the shared one judges."""
    house.register("xgboost", SEVEN, 0.5)
    graph.tenant_models.look()
    before = (await graph.ask(SEVEN)).versions["xgboost"]
    newer = house.register("xgboost", SEVEN, 0.25)
    assert (await graph.ask(SEVEN)).versions["xgboost"] == before
    graph.tenant_models.look()
    found = await graph.ask(SEVEN)
    assert found.versions["xgboost"] != before
    assert voted(found, "xgboost") == pytest.approx(score(newer))
    again = await graph.ask(SEVEN, (("xgboost", before),))
    assert again.versions == {"xgboost": before}
    house.retire("xgboost", SEVEN)
    graph.tenant_models.look()
    assert (await graph.ask(SEVEN)).versions["xgboost"] == "1"


async def test_another_tenants_version_does_not_exist(house: House, graph: Graph) -> None:
    """Whoever asks for a version by its label gets its own tenant's alone."""
    house.register("catboost", SEVEN, 0.5)
    graph.tenant_models.look()
    versions = (("catboost", (await graph.ask(SEVEN)).versions["catboost"]),)
    assert (await graph.ask(SEVEN, versions)).versions == dict(versions)
    for other in (EIGHT, NINE, 0):
        with pytest.raises(NotFound):
            await graph.ask(other, versions)


async def test_what_cannot_be_had_abstains(house: House, graph: Graph) -> None:
    """An own model with a changed byte does not vote, says why, and no other model votes in its place."""
    own = 70
    house.register("random_forest", own, 0.5)
    release = house.registry().champion("generic", "random_forest", own)
    assert release is not None
    artefact = next((house.artefacts / release.path).glob("*.onnx"))
    artefact.write_bytes(artefact.read_bytes()[:-1] + b"?")
    graph.tenant_models.look()
    judgement = await graph.ask(own)
    vote = next(v for v in json.loads(judgement.findings)["ml_predictions"] if v["ml_model"] == "random_forest")
    assert vote["prediction_score"] is None
    assert "signature that does not hold" in vote["reason"]
    assert "random_forest" not in judgement.versions
    assert voted(judgement, "catboost") == pytest.approx(score(house.bundles["catboost"]))
    assert (await graph.ask(NINE)).versions["random_forest"] == "1"


def test_an_own_model_is_no_family(house: House) -> None:
    """What stands where for the models that all share does not show it, so nothing leads it through the gates."""
    house.register("catboost", 71, 0.5)
    assert house.registry().states("catboost").keys() == {"generic"}
    assert house.registry().owned()["generic", 71] == {"catboost": "1"}


def test_an_own_model_moves_without_a_rollout(house: House) -> None:
    """A request moves its champion, and leaves no candidate behind that nobody would lead on."""
    house.register("catboost", 72, 0.5)
    house.register("catboost", 72, 0.25)
    name, source = model_name("generic", "catboost", 72), house.registry()
    assert request_promotion(source, PromotionRequest(name, "1", "seven")) == "1"
    assert (source.state(name).champion, source.state(name).rollout) == ("1", None)


async def test_a_replica_holds_no_more_than_its_bound(house: House, inside: None) -> None:
    """However many tenants ask, so many models are held; those used last stay."""
    tenants = range(1000, 1000 + OWN_MAX + 6)
    give(access_to(house.url), SIGNER, "adaptive", "1", tenants)
    member = Member(DetectorConfig("adaptive", access_to(house.url), 60))
    table, hash_buckets = make_feature_table([WINDOW], [None], FAMILY), np.zeros(1)
    for tenant in tenants:
        votes = await member.vote("generic", table, "score", hash_buckets, f"t{tenant}/1")
        assert votes.versions == (f"t{tenant}/1",)
    held = getattr(member, "__serve_multiplex_wrapper").models
    assert list(held) == [f"generic/t{tenant}/1" for tenant in list(tenants)[-OWN_MAX:]]
