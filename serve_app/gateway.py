"""First replica a request meets: turns handles of the graph into the ports that routes ask for.

Exists so that routes never see Ray.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from configs.settings import Settings
from deployments.calls import replica_may_stop
from deployments.listening import keep_to_node_address
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from pipelines.errors import HdxError, Overloaded, Unavailable
from pipelines.knowledge.answer import Event
from pipelines.knowledge.documents import language_of
from pipelines.knowledge.index import BUILT_IN
from pipelines.knowledge.records import Answer, Found, Hit, Question
from serve_app.api.app import create_app
from serve_app.api.ports import Asked, Health, Services
from serve_app.batching import MicroBatch
from serve_app.cache import AnswerCache
from serve_app.metrics import Metrics
from serve_app.store.repository import Store

if TYPE_CHECKING:
    from deployments.detector import Following
    from deployments.ensemble import Ensemble

Handle = DeploymentHandle[Any]
Reply = TypeVar("Reply")
SETTLE_S = 30  # a removal waits for the document that is being indexed; source: own choice, half of a request's time


async def reach(part: str, call: Awaitable[Reply], timeout_s: float) -> Reply:
    """Await a reply from the graph, and turn its failures into our own errors.

    Raises:
        HdxError: The one raised down there, Overloaded, or Unavailable naming `part`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            with replica_may_stop():
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
        self._streaming = generator.options(stream=True)
        self._knowledge = settings.knowledge
        # The generator itself falls back after its own time-out; this one only guards a lost replica.
        self._patience_s = settings.knowledge.timeout_s + 5

    async def ask(self, asked: Asked) -> Answer:
        """Answer from the tenant's documents and the built-in knowledge, or abstain."""
        begun = time.perf_counter()
        question, found = await self._search(asked)
        searched = time.perf_counter()
        answer: Answer = await reach("generator", self._generator.answer.remote(question, found), self._patience_s)
        answer.milliseconds.update(_times(begun, searched))
        return answer

    async def stream(self, asked: Asked) -> AsyncGenerator[tuple[Hit, ...] | Event]:
        """Yield the passages found, the answer in pieces, and the whole of it last."""
        begun = time.perf_counter()
        question, found = await self._search(asked)
        searched = time.perf_counter()
        yield found.hits[: asked.limit]
        events: Any = self._streaming.stream.remote(question, found)
        try:
            async with asyncio.timeout(self._patience_s):
                with replica_may_stop():
                    async for event in events:
                        if isinstance(event, Answer):
                            event.milliseconds.update(_times(begun, searched))
                        yield event
        except (TimeoutError, RayError, RayServeException):
            raise Unavailable("generator", "no reply") from None
        finally:
            events.cancel()  # whoever stopped listening stops the model, too

    async def _search(self, asked: Asked) -> tuple[Question, Found]:
        timeout_s = self._knowledge.timeout_s
        vectors, made = await reach("embedder", self._embedder.encode.remote([asked.text]), timeout_s)
        question = Question(asked.text, language_of(asked.text), asked.limit, vectors[0], asked.context, made)
        found = await reach("retriever", self._retriever.search.remote(asked.tenant_id, question), timeout_s)
        return question, found

    async def health(self) -> Health:
        """Walk the whole way to the index once."""
        try:
            _, found = await self._search(Asked(BUILT_IN, "hydraulic pump", 1))
        except HdxError:
            return "down"
        return "ok" if found.hits else "degraded"


def _times(begun: float, searched: float) -> dict[str, float]:
    return {"search": 1e3 * (searched - begun), "answer": 1e3 * (time.perf_counter() - searched)}


class GraphLibrary:
    """The way to the indexer of the graph."""

    def __init__(self, indexer: Handle) -> None:
        self._indexer = indexer

    def announce(self, tenant_id: int, document_id: str) -> None:
        """Say that a document waits."""
        self._indexer.work.remote(tenant_id, document_id)

    async def settle(self, tenant_id: int, document_id: str) -> None:
        """Wait until a document is ready, failed, or gone."""
        await reach("indexer", self._indexer.work.remote(tenant_id, document_id), SETTLE_S)


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
        indexer: Handle,
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
            library=GraphLibrary(indexer),
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
