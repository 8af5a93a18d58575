"""In contract tests: simple working implementations of the ports, in memory.

Exists so that every route is tested without Ray, PostgreSQL or a model.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

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
    Quality,
    Vote,
)
from pipelines.errors import NotFound, Unauthenticated
from pipelines.knowledge.answer.answer import Event, pieces
from pipelines.knowledge.records import Answer, Citation, Hit, Passage
from pipelines.machines.baseline import Baseline
from pipelines.promotion.gates import Evidence
from pipelines.promotion.rollout import ModelState, PromotionRequest, Rollout
from serve_app.api.ports import Asked, Health, Services
from serve_app.shared.cache import MemoryCache
from serve_app.shared.credentials import digest, hash_password
from serve_app.shared.fleet import FleetModel
from serve_app.shared.metrics import Metrics
from serve_app.store.records import (
    Account,
    Principal,
    Role,
    StoredDiagnosis,
    StoredDocument,
    StoredFeedback,
    System,
    Verdict,
)
from serve_app.store.repository import Store

PASSWORD = "correct horse battery"
API_KEY = "hdx_test_key_of_tenant_one"
ML_KEY = "ml-key-of-the-test"
RAG_KEY = "rag-key-of-the-test"
CHANNELS = ("pressure", "temperature", "flow", "vibration")
LEARNED = Baseline(np.ones(2), np.ones(2), np.ones(2))


class MemoryStore:
    """Two tenants with an account of each role, a system each, and everything written since."""

    def __init__(self) -> None:
        hashed = hash_password(PASSWORD)
        roles: tuple[Role, ...] = ("admin", "engineer", "operator", "viewer")
        self.accounts = {
            number: Account(number, 1, role, f"{role}@example.com", hashed, role, True)
            for number, role in enumerate(roles, 1)
        }
        self.accounts[5] = Account(5, 2, "stranger", "stranger@example.com", hashed, "admin", True)
        self.accounts[6] = Account(6, 1, "retired", "retired@example.com", hashed, "admin", False)
        now = datetime(2026, 1, 1, tzinfo=UTC)
        self.owned = {
            1: (1, System(1, "Press", "generic", "", False, now)),
            2: (2, System(2, "Foreign press", "generic", "", False, now)),
        }
        self.recorded: list[tuple[int, StoredDiagnosis, Baseline | None]] = []
        self.audited: list[tuple[int, str, str, str]] = []
        self.sessions: dict[UUID, tuple[int, UUID]] = {}
        self.consulted: dict[tuple[int, UUID], Sequence[Mapping[str, Any]]] = {}
        self.used: set[UUID] = set()
        self.ended_families: set[UUID] = set()
        self.up = True
        self.baseline: Baseline | None = None
        self.kept_documents: dict[tuple[int, str], StoredDocument] = {}
        self.said: dict[tuple[int, UUID], StoredFeedback] = {}

    async def ensure_tenant(self, name: str) -> int:
        return {"demo": 1}.get(name, 2)

    async def account_by_login(self, login: str) -> Account | None:
        return next((a for a in self.accounts.values() if login in {a.username, a.email}), None)

    async def consult(self, tenant_id: int, trace_id: UUID, passages: Sequence[Mapping[str, Any]]) -> None:
        self.consulted[tenant_id, trace_id] = passages

    async def passages(self, tenant_id: int, trace_id: UUID) -> Sequence[Mapping[str, Any]]:
        return self.consulted.get((tenant_id, trace_id), [])

    async def last_finding(self, tenant_id: int, system_id: int) -> StoredDiagnosis | None:
        own = [kept for owner, kept, _ in self.recorded if (owner, kept.system_id) == (tenant_id, system_id)]
        return own[-1] if own else None

    async def add_document(
        self, tenant_id: int, document_id: str, name: str, sha256: str, content: bytes
    ) -> StoredDocument:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        fresh = StoredDocument(document_id, name, sha256, len(content), "queued", "", "", None, 0, 0, 0, now)
        return self.kept_documents.setdefault((tenant_id, document_id), fresh)

    async def document(self, tenant_id: int, document_id: str) -> StoredDocument:
        if (tenant_id, document_id) not in self.kept_documents:
            raise NotFound("document", document_id)
        return self.kept_documents[tenant_id, document_id]

    async def document_pages(self, tenant_id: int, document_id: str) -> list[str]:
        return [f"Pages of {(await self.document(tenant_id, document_id)).name}."]

    async def documents(self, tenant_id: int, after: str, limit: int) -> list[StoredDocument]:
        own = sorted(key for owner, key in self.kept_documents if owner == tenant_id and key > after)
        return [self.kept_documents[tenant_id, key] for key in own[:limit]]

    async def change_document(self, tenant_id: int, document_id: str, **changes: Any) -> None:
        changed = replace(await self.document(tenant_id, document_id), **changes)
        self.kept_documents[tenant_id, document_id] = changed

    async def account(self, user_id: int) -> Account | None:
        return self.accounts.get(user_id)

    async def principal_by_api_key(self, sha256: bytes) -> Principal | None:
        return Principal(1, None, "line 4", "operator") if sha256 == digest(API_KEY) else None

    async def start_session(self, user_id: int, family: UUID, token_id: UUID, expires_at: datetime) -> None:
        self.sessions[token_id] = (user_id, family)

    async def rotate_session(self, token_id: UUID, new_id: UUID, expires_at: datetime) -> tuple[int, UUID]:
        user_id, family = self.sessions[token_id]
        if family in self.ended_families or token_id in self.used:
            self.ended_families.add(family)
            raise Unauthenticated("the refresh token was used before")
        self.used.add(token_id)
        self.sessions[new_id] = (user_id, family)
        return user_id, family

    async def end_session(self, token_id: UUID) -> None:
        self.ended_families.add(self.sessions[token_id][1])

    async def systems(self, tenant_id: int, after: int = 0, limit: int = 100) -> Sequence[System]:
        own = [system for tenant, system in self.owned.values() if tenant == tenant_id and system.system_id > after]
        return own[:limit]

    async def system(self, tenant_id: int, system_id: int) -> System:
        tenant, system = self.owned.get(system_id, (0, None))
        if system is None or tenant != tenant_id:
            raise NotFound("system", system_id)
        return system

    async def add_system(self, tenant_id: int, name: str, family: str, description: str = "") -> System:
        system = System(max(self.owned) + 1, name, family, description, False, datetime.now(UTC))
        self.owned[system.system_id] = (tenant_id, system)
        return system

    async def change_system(
        self, tenant_id: int, system_id: int, name: str | None = None, description: str | None = None
    ) -> System:
        system = await self.system(tenant_id, system_id)
        changes = {"name": name, "description": description}
        changed = replace(system, **{key: value for key, value in changes.items() if value is not None})  # type: ignore[arg-type]
        self.owned[system_id] = (tenant_id, changed)
        return changed

    async def delete_system(self, tenant_id: int, system_id: int) -> None:
        await self.system(tenant_id, system_id)
        del self.owned[system_id]

    async def machine(self, tenant_id: int, system_id: int) -> tuple[System, Baseline | None]:
        return await self.system(tenant_id, system_id), self.baseline

    async def record(
        self, tenant_id: int, diagnosis: StoredDiagnosis, learned: Baseline | None, alarm: bool | None = None
    ) -> None:
        self.recorded.append((tenant_id, diagnosis, learned))
        if alarm is not None:
            tenant, system = self.owned[diagnosis.system_id]
            self.owned[diagnosis.system_id] = (tenant, replace(system, alarm=alarm))

    async def diagnosis(self, tenant_id: int, trace_id: UUID) -> StoredDiagnosis:
        for tenant, stored, _ in self.recorded:
            if tenant == tenant_id and stored.trace_id == trace_id:
                return stored
        raise NotFound("diagnosis", trace_id)

    async def give_feedback(
        self, tenant_id: int, trace_id: UUID, verdict: Verdict, component: str | None, note: str, actor: str
    ) -> StoredFeedback:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        self.said[tenant_id, trace_id] = StoredFeedback(trace_id, verdict, component, note, actor, now)
        return self.said[tenant_id, trace_id]

    async def audit(self, tenant_id: int, actor: str, action: str, subject: str, detail: str) -> None:
        self.audited.append((tenant_id, actor, action, subject))

    async def ping(self) -> None:
        if not self.up:
            raise ConnectionError("host=10.0.0.7 password=hunter2")


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
        return judgement_of(found)

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

    def __init__(self, store: "MemoryStore") -> None:
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

    async def fleet(self) -> Sequence[FleetModel]:
        if self.failure is not None:
            raise self.failure
        state = ModelState("hdx-generic-catboost", "2", "2", "1", True, self.rollout)
        evidence = Evidence("generic", "3", 40, 0, 5, 4, 1, 3) if self.rollout else None
        return [FleetModel("generic", "catboost", state, {"2": 3}, evidence)]

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
    store, diagnoser, assistant, metrics = MemoryStore(), FixedDiagnoser(), FixedAssistant(), CountingMetrics()
    promotions = ListedPromotions()
    services = Services(
        settings=settings,
        store=cast(Store, store),
        diagnoser=diagnoser,
        assistant=assistant,
        library=ListedLibrary(store),
        promotions=promotions,
        cache=MemoryCache(settings.cache.ttl_s, 100),
        metrics=cast(Metrics, metrics),
    )
    return Bench(services, store, diagnoser, assistant, metrics, promotions)
