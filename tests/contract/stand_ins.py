"""The ports in memory, so that routes are tested without Ray, PostgreSQL or a model."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import SecretStr

from configs.settings import Limits, Settings
from pipelines.detectors.members import registry
from pipelines.diagnosis.findings import judgement_of
from pipelines.diagnosis.records import (
    Attribution,
    ComponentFinding,
    Deviation,
    Diagnosis,
    Inspection,
    Judgement,
    MemberStatus,
    PointFinding,
    Quality,
    Vote,
)
from pipelines.drift.monitor import DriftState
from pipelines.errors import NotFound
from pipelines.knowledge.answer.answer import Event, pieces
from pipelines.knowledge.records import Answer, Citation, Hit, Passage
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import Learned
from pipelines.promotion.gates import Evidence
from pipelines.promotion.rollout import ModelState, PromotionRequest, Rollout
from serve_app.api.ports import Asked, Health, Services
from serve_app.shared.cache import MemoryCache
from serve_app.shared.credentials import digest, hash_password
from serve_app.shared.fleet import FleetModel
from serve_app.shared.metrics import Metrics
from serve_app.store.records import Account, Principal, Role, System
from tests.contract.memory_people import BEGAN
from tests.contract.memory_store import MemoryStore

PASSWORD = "correct horse battery"
API_KEY = "hdx_test_key_of_tenant_one"
ML_KEY = "ml-key-of-the-test"
RAG_KEY = "rag-key-of-the-test"
CHANNELS = ("pressure", "temperature", "flow", "vibration")
LEARNED = Learned(0, Baseline(np.ones(2), np.ones(2), np.ones(2)))


def two_tenants() -> MemoryStore:
    """A store of two tenants, with an account of each role, a system and a key."""
    store, hashed = MemoryStore(), hash_password(PASSWORD)
    store.tenant_ids |= {"demo": 1, "other": 2}
    roles: tuple[Role, ...] = ("admin", "engineer", "operator", "viewer")
    for number, role in enumerate(roles, 1):
        store.people[number] = Account(number, 1, role, f"{role}@example.com", hashed, role, True)
    store.people[5] = Account(5, 2, "stranger", "stranger@example.com", hashed, "admin", True)
    store.people[6] = Account(6, 1, "retired", "retired@example.com", hashed, "admin", False)
    store.owned[1] = (1, System(1, "Press", "generic", "", False, BEGAN))
    store.owned[2] = (2, System(2, "Foreign press", "generic", "", False, BEGAN))
    store.principals[digest(API_KEY)] = Principal(1, None, "line 4", "operator")
    return store


def votes(version: str = "1") -> tuple[Vote, ...]:
    """One vote of each detector."""
    return tuple(Vote(name, version, 0.2, 0.8, 0.25, 1.5) for name in registry())


def diagnosis_of(inspection: Inspection, cast_votes: Sequence[Vote], absent: Mapping[str, str]) -> Diagnosis:
    """A healthy answer, built by hand."""
    missing = tuple(name for name in CHANNELS if name not in inspection.window.values)
    return Diagnosis(
        family=inspection.family,
        is_anomaly=False,
        score=0.23,
        severity="normal",
        confidence=0.88,
        threshold=0.5,
        anomaly_type=None,
        components=(ComponentFinding("pump", 0.1, 0),),
        affected=(),
        attribution=(Attribution("pressure", -0.4, "low", Deviation(97.5, 100.0, "bar", own=True)),),
        votes=tuple(cast_votes),
        absent=absent,
        quality=Quality(1.0 - 0.25 * len(missing), missing, tuple(f"{name} was not sent" for name in missing)),
        features=42,
        learned=LEARNED,
    )


class FixedDiagnoser:
    """Answers every window alike, or fails as told."""

    def __init__(self) -> None:
        self.asked: list[Inspection] = []
        self.version = "1"
        self.absent: dict[str, str] = {}
        self.failure: Exception | None = None
        self.alarm = False
        self.level = 0
        self.point: PointFinding | None = None
        self.abstained = ""
        self.statuses = [MemberStatus(name, "generic", "1", "ab" * 32, True) for name in registry()]

    async def diagnose(self, inspection: Inspection) -> Judgement:
        self.asked.append(inspection)
        if self.failure is not None:
            raise self.failure
        present = [vote for vote in votes(self.version) if vote.detector not in self.absent]
        found = diagnosis_of(inspection, present, self.absent)
        if self.abstained:
            found = found._replace(score=float("nan"), severity="unknown", confidence=0.0, abstained=self.abstained)
        else:
            found = found._replace(is_anomaly=self.alarm)
        return judgement_of(found._replace(level=self.level, operating_point=self.point))

    async def members(self) -> Sequence[MemberStatus]:
        return self.statuses

    def promote(self, version: str) -> None:
        """Move every champion."""
        self.version = version
        self.statuses = [status._replace(version=version) for status in self.statuses]


TEXT = "Check the suction line. Then measure the pump's case drain flow."
PASSAGE = Passage("p1", "d1", "Pressure drop", "en", 1, 10, 10 + len(TEXT), "Steps", TEXT)


class FixedAssistant:
    """Answers every question alike, or fails as told."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.state: Health = "ok"
        self.failure: Exception | None = None
        self.broken_off: Exception | None = None
        self.closed = False

    async def flagged(self, tenant_id: int, document_id: str) -> Sequence[Passage]:
        return [replace(PASSAGE, document_id=document_id, flag="overrides instructions")]

    async def stream(self, asked: Asked) -> AsyncGenerator[tuple[Hit, ...] | Event]:
        answer = await self.ask(asked)
        yield answer.hits[: asked.limit]
        try:
            for piece in pieces(answer.text):
                yield piece
                if self.broken_off is not None:
                    raise self.broken_off
            yield answer
        finally:
            self.closed = True

    async def ask(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if self.failure is not None:
            raise self.failure
        quote = TEXT[:23]
        citation = Citation(1, "d1", "Pressure drop", 1, 10, 33, quote, 0.9)
        hits = tuple(Hit(PASSAGE, 0.9) for _ in range(10))
        return Answer("Check the suction line [1].", (citation,), hits, "extractive", 5, grounded=True, abstained=False)

    async def health(self) -> Health:
        return self.state


class ListedLibrary:
    """Notes what it is told, and drops what is to go at once."""

    def __init__(self, store: MemoryStore) -> None:
        self.announced: list[tuple[int, str]] = []
        self._store = store

    def announce(self, tenant_id: int, document_id: str) -> None:
        self.announced.append((tenant_id, document_id))

    async def settle(self, tenant_id: int, document_id: str) -> None:
        self._store.kept_documents.pop((tenant_id, document_id))


class ListedPromotions:
    """One model, live in version 2 after 1; moves it as told, or fails."""

    def __init__(self) -> None:
        self.requests: list[PromotionRequest] = []
        self.looked: list[str] = []
        self.failure: Exception | None = None
        self.rollout: Rollout | None = None
        self.evidence: Evidence | None = Evidence("generic", "3", 40, 2, 5, 4, 1, 3)
        self.drift: tuple[DriftState, ...] = ()

    async def fleet(self) -> Sequence[FleetModel]:
        if self.failure is not None:
            raise self.failure
        state = ModelState("hdx-generic-catboost", "2", "2", "1", True, self.rollout)
        evidence = self.evidence if self.rollout else None
        return [FleetModel("generic", "catboost", state, {"2": 3}, evidence, self.drift)]

    async def request(self, request: PromotionRequest) -> str:
        if self.failure is not None:
            raise self.failure
        self.requests.append(request)
        if request.version not in ("", "1", "2", "3"):
            raise NotFound("model version", f"{request.name}/{request.version}")
        return request.version or "1"

    def look(self, name: str) -> None:
        self.looked.append(name)


@dataclass
class CountingMetrics:
    """Keeps every call."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def answered(self, family: str, judgements: Sequence[Judgement], seconds: float) -> None:
        self.calls += [("answered", family, judgement.is_anomaly) for judgement in judgements]

    def failed(self, code: str) -> None:
        self.calls.append(("failed", code))

    def looked_up(self, hit: bool) -> None:
        self.calls.append(("looked_up", hit))

    def asked(self, outcome: str, seconds: float) -> None:
        self.calls.append(("asked", outcome))

    async def scrape(self) -> bytes:
        return b"# TYPE ml_predictions_total counter\nml_predictions_total 1\n"


@dataclass
class Bench:
    """The services with their parts as the test sees them."""

    services: Services
    store: MemoryStore
    diagnoser: FixedDiagnoser
    assistant: FixedAssistant
    metrics: CountingMetrics
    promotions: ListedPromotions


def settings_for(home: Path, **changes: Any) -> Settings:
    """Settings that read no `.env`."""
    given = {
        "home": home,
        "secret_key": SecretStr("s" * 64),
        "ml_internal_api_key": SecretStr(ML_KEY),
        "rag_internal_api_key": SecretStr(RAG_KEY),
        "limits": Limits(batch=4),
    }
    return Settings(_env_file=None, **{**given, **changes})


def make_bench(home: Path, **changes: Any) -> Bench:
    """Services over fresh stand-ins."""
    settings = settings_for(home, **changes)
    store, diagnoser, assistant, metrics = two_tenants(), FixedDiagnoser(), FixedAssistant(), CountingMetrics()
    promotions = ListedPromotions()
    services = Services(
        settings=settings,
        store=store,
        diagnoser=diagnoser,
        assistant=assistant,
        library=ListedLibrary(store),
        promotions=promotions,
        cache=MemoryCache(settings.cache.ttl_s, 100),
        metrics=cast(Metrics, metrics),
    )
    return Bench(services, store, diagnoser, assistant, metrics, promotions)
