"""First replica a request meets: turns handles of the graph into the ports that routes ask for.

Exists so that routes never see Ray.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from configs.settings import Settings
from deployments.listening import keep_to_node_address
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from pipelines.errors import HdxError, Overloaded, Unavailable
from pipelines.knowledge.documents import language_of
from pipelines.knowledge.index import BUILT_IN
from pipelines.knowledge.records import Answer, Hit, Question
from serve_app.api.app import create_app
from serve_app.api.ports import Health, Services
from serve_app.batching import MicroBatch
from serve_app.cache import AnswerCache
from serve_app.metrics import Metrics
from serve_app.store.repository import Store

if TYPE_CHECKING:
    from deployments.detector import Following
    from deployments.ensemble import Ensemble

Handle = DeploymentHandle[Any]
Reply = TypeVar("Reply")


async def reach(part: str, call: Awaitable[Reply], timeout_s: float) -> Reply:
    """Await a reply from the graph, and turn its failures into our own errors.

    Raises:
        HdxError: The one raised down there, Overloaded, or Unavailable naming `part`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except RayTaskError as error:
        if isinstance(error.cause, HdxError):
            raise error.cause from None
        raise
    except BackPressureError:
        raise Overloaded(1) from None
    except (TimeoutError, RayError, RayServeException):
        raise Unavailable(part, "no reply") from None


class GraphDiagnoser:
    """The detect path of the graph, whether the ensemble is in this process or behind a handle."""

    def __init__(
        self,
        diagnose: Callable[[Sequence[Inspection]], Awaitable[Sequence[Judgement | Exception]]],
        members: Callable[[], Awaitable[Sequence[MemberStatus]]],
        settings: Settings,
    ) -> None:
        self._diagnose, self._members = diagnose, members
        # Two votes' time: the ensemble tries a failed detector once more.
        self._timeout_s = 2 * settings.models.vote_timeout_s + 1
        self._batch: MicroBatch[Inspection, Judgement] = MicroBatch(self._run, settings.micro_batch.max_windows)

    async def _run(self, inspections: Sequence[Inspection]) -> Sequence[Judgement | Exception]:
        return await reach("ensemble", self._diagnose(inspections), self._timeout_s)

    def diagnose(self, inspection: Inspection) -> Awaitable[Judgement]:
        """Judge one window within the next micro-batch."""
        return self._batch.submit(inspection)

    async def members(self) -> Sequence[MemberStatus]:
        """Ask every detector what it holds."""
        return await reach("ensemble", self._members(), self._timeout_s)


class GraphAssistant:
    """The ask path of the graph."""

    def __init__(self, embedder: Handle, retriever: Handle, generator: Handle, settings: Settings) -> None:
        self._embedder, self._retriever, self._generator = embedder, retriever, generator
        self._knowledge = settings.knowledge

    async def ask(self, tenant_id: int, text: str, limit: int) -> Answer:
        """Answer from the tenant's documents and the built-in knowledge, or abstain."""
        begun = time.perf_counter()
        question, hits = await self._search(tenant_id, text, limit)
        found = time.perf_counter()
        # The generator itself falls back after its own time-out; this one only guards a lost replica.
        timeout_s = self._knowledge.timeout_s + 5
        answer: Answer = await reach("generator", self._generator.answer.remote(question, hits), timeout_s)
        answer.milliseconds.update(search=1e3 * (found - begun), answer=1e3 * (time.perf_counter() - found))
        return answer

    async def _search(self, tenant_id: int, text: str, limit: int) -> tuple[Question, list[Hit]]:
        timeout_s = self._knowledge.timeout_s
        vectors = await reach("embedder", self._embedder.encode.remote([text]), timeout_s)
        question = Question(text, language_of(text), limit, vectors[0])
        hits = await reach("retriever", self._retriever.search.remote(tenant_id, question), timeout_s)
        return question, hits

    async def health(self) -> Health:
        """Walk the whole way to the index once."""
        try:
            _, hits = await self._search(BUILT_IN, "hydraulic pump", 1)
        except HdxError:
            return "down"
        return "ok" if hits else "degraded"


def _make_ensemble(followed: "Mapping[str, Following]", settings: Settings) -> "Ensemble":
    from deployments.ensemble import Ensemble  # the models' libraries: only where models are

    return Ensemble(followed, settings.models.quorum, settings.models.vote_timeout_s)


@serve.deployment
@serve.ingress()
class Gateway:
    """The HTTP front of the application."""

    def __init__(
        self,
        settings: Settings,
        ensemble: "Handle | Mapping[str, Following]",
        embedder: Handle,
        retriever: Handle,
        generator: Handle,
    ) -> None:
        keep_to_node_address()
        if settings.database.url is None:
            raise ValueError("HDX_DATABASE__URL is not set; `hdx run` sets it to the embedded PostgreSQL")
        self._inside: Ensemble | None = None
        if isinstance(ensemble, Mapping):
            self._inside = _make_ensemble(ensemble, settings)
            diagnoser = GraphDiagnoser(self._inside.diagnose, self._inside.members, settings)
        else:
            # Naming a method makes a new handle: once here, and not once a call.
            diagnoser = GraphDiagnoser(ensemble.diagnose.remote, ensemble.members.remote, settings)
        url = settings.database.url.get_secret_value()
        self._services = Services(
            settings=settings,
            store=Store.open(url, settings.database.pool_size),
            diagnoser=diagnoser,
            assistant=GraphAssistant(embedder, retriever, generator, settings),
            cache=AnswerCache.open(settings),
            metrics=Metrics(),
        )

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application that this replica serves."""
        return create_app(self._services)

    def check_health(self) -> None:
        """Let detectors that live in this replica score the canary window again."""
        if self._inside is not None:
            self._inside.check_health()
