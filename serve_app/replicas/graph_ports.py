"""The ports that routes ask for, over handles of the Ray Serve graph.

Every call to another replica goes through `reach`, which bounds it in time and names its failures by our own errors.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from configs.settings import Settings
from deployments.runtime.cancellation import replica_may_stop
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from pipelines.errors import HdxError, Overloaded, Unavailable, cause_of
from pipelines.knowledge.answer.advice import advised
from pipelines.knowledge.answer.answer import Event, extract, pieces
from pipelines.knowledge.answer.waiting import within
from pipelines.knowledge.ingest.documents import language_of
from pipelines.knowledge.records import Answer, Found, Hit, Passage, Question
from pipelines.knowledge.search.index import BUILT_IN
from pipelines.machines.family import name_of
from pipelines.promotion.rollout import PromotionRequest
from pipelines.promotion.tenant_models import TenantModels, check_versions
from serve_app.api.ports import Asked, Health
from serve_app.shared import logs
from serve_app.shared.batching import MicroBatch
from serve_app.shared.fleet import FleetModel
from serve_app.shared.tenant_batches import TenantBatches

Handle = DeploymentHandle[Any]
Reply = TypeVar("Reply")
PROMOTER_S = 15  # its slowest step is one look at a registry that hangs; source: `registry.TIMEOUT_S` and a margin
# Source: own choice; room for the batch of an upload that is encoded before, and less than a health check waits.
EMBEDDER_S = 3
BY_WORDS = "searched by words alone: the embedder is away"
BY_GATEWAY = "quoted by the gateway: the generator is away"
# The generator quotes at once, or after its model's limit; what is later is a lost replica. Source: own choice; quoting
# takes milliseconds, the rest is room for those who wait before.
FALLBACK_S = 5
PROBE_S = 3  # for the generator to refuse a question without passages; source: own choice, less than a health check
SETTLE_S = 30  # a removal waits for the step in hand of the others; source: own choice, half of a request's time


async def reach(part: str, call: Awaitable[Reply], timeout_s: float) -> Reply:
    """Await a reply from the graph, and turn its failures into our own errors.

    Raises:
        HdxError: The one raised down there, Overloaded, or Unavailable naming `part`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            with replica_may_stop():
                return await call
    except Exception as error:
        raise _our_error(part, error) from None


def _our_error(part: str, error: Exception) -> HdxError:
    """Return a hop's failure as one of our errors; what it says of the inside goes to the log alone.

    Source: by actor calls Ray wraps what a replica raises, by gRPC it hands it over as it is.
    """
    cause = cause_of(error)
    if isinstance(cause, HdxError):
        return cause
    if isinstance(cause, BackPressureError):
        return Overloaded(1)
    logs.write("hop.failed", logging.WARNING, cause, part=part)
    lost = isinstance(cause, TimeoutError | RayError | RayServeException)
    return Unavailable(part, "no reply" if lost else "it failed")


class GraphDiagnoser:
    """The detect path of the graph, whether the ensemble is in this process or behind a handle."""

    def __init__(
        self,
        diagnose: Callable[[Sequence[Inspection]], Awaitable[Sequence[Judgement | Exception]]],
        members: Callable[[], Awaitable[Sequence[MemberStatus]]],
        settings: Settings,
        tenant_models: TenantModels,
    ) -> None:
        self._diagnose, self._members = diagnose, members
        # Two votes' time: the ensemble tries a failed detector once more.
        self._timeout_s = 2 * settings.models.vote_timeout_s + 1
        self._tenant_models = tenant_models
        most = settings.micro_batch.max_windows
        self._batch: MicroBatch[Inspection, Judgement] = MicroBatch(self._run, most)
        # A model that has to be loaded first holds up its own tenant alone.
        self._batches: TenantBatches[Inspection, Judgement] = TenantBatches(lambda _, own: self._run(own), most)

    async def _run(self, inspections: Sequence[Inspection]) -> Sequence[Judgement | Exception]:
        return await reach("ensemble", self._diagnose(inspections), self._timeout_s)

    def diagnose(self, inspection: Inspection) -> Awaitable[Judgement]:
        """Judge one window within the next micro-batch: that of all, or the tenant's where it has models of its own.

        Raises:
            NotFound: A version is asked for that is another tenant's.
            Unavailable: Whose models there are is not known yet.
        """
        check_versions(inspection)
        own = () if inspection.versions else self._tenant_models.of(name_of(inspection.family), inspection.owner)
        if not own:
            return self._batch.submit(inspection)
        return self._batches.submit(inspection.owner, inspection._replace(own=own))

    async def members(self) -> Sequence[MemberStatus]:
        """Ask every detector what it holds."""
        return await reach("ensemble", self._members(), self._timeout_s)


class GraphAssistant:
    """The ask path of the graph."""

    def __init__(self, embedder: Handle, retriever: Handle, generator: Handle, settings: Settings) -> None:
        self._embedder, self._retriever, self._generator = embedder, retriever, generator
        self._streaming = generator.options(stream=True)
        self._knowledge = settings.knowledge
        model_s = 0 if settings.knowledge.generator == "extractive" else settings.knowledge.timeout_s
        self._patience_s = model_s + FALLBACK_S

    async def ask(self, asked: Asked) -> Answer:
        """Answer from the tenant's documents and the built-in knowledge, or abstain."""
        begun = time.perf_counter()
        question, found = await self._search(asked)
        searched = time.perf_counter()
        answer = await self._answered(question, found, self._patience_s)
        return self._told(answer or await self._quoted(question, found), question, begun, searched)

    async def stream(self, asked: Asked) -> AsyncGenerator[tuple[Hit, ...] | Event]:
        """Yield the passages found, the answer in pieces, and the whole of it last."""
        begun = time.perf_counter()
        question, found = await self._search(asked)
        searched = time.perf_counter()
        yield found.hits[: asked.limit]
        async with aclosing(self._written(question, found)) as events:
            async for event in events:
                yield self._told(event, question, begun, searched) if isinstance(event, Answer) else event

    async def _answered(self, question: Question, found: Found, timeout_s: float) -> Answer | None:
        """Return the generator's answer; None while it is away."""
        try:
            answer: Answer = await reach("generator", self._generator.answer.remote(question, found), timeout_s)
        except Unavailable:
            return None
        return answer

    async def _written(self, question: Question, found: Found) -> AsyncGenerator[Event]:
        """Yield what the generator writes; where it is lost before its first piece, what this process quotes."""
        events: Any = self._streaming.stream.remote(question, found)
        begun = False
        try:
            with replica_may_stop():
                async for event in within(events, self._patience_s):
                    begun = True
                    yield event
        except Exception as error:
            ours = _our_error("generator", error)
            if begun or not isinstance(ours, Unavailable):
                raise ours from None
        finally:
            events.cancel()  # whoever stopped listening stops the model, too
        if not begun:
            answer = await self._quoted(question, found)
            for piece in pieces(answer.text):
                yield piece
            yield answer

    async def _quoted(self, question: Question, found: Found) -> Answer:
        """Answer in this process as the generator does without a language model."""
        extracting = asyncio.to_thread(lambda: advised(extract(question, found.hits), question, found))
        return _without(await reach("generator", extracting, FALLBACK_S), BY_GATEWAY)

    async def _search(self, asked: Asked) -> tuple[Question, Found]:
        question = Question(asked.text, language_of(asked.text), asked.limit, context=asked.context)
        question = await self._with_vector(question)
        search = self._retriever.search.remote(asked.tenant_id, question)
        return question, await reach("retriever", search, self._knowledge.timeout_s)

    async def _with_vector(self, question: Question) -> Question:
        """Add the question's vector; without the embedder it is searched by its words alone."""
        try:
            vectors, made = await reach("embedder", self._embedder.encode.remote([question.text]), EMBEDDER_S)
        except (Unavailable, Overloaded):
            return question
        return replace(question, vector=vectors[0], made=made)

    def _told(self, answer: Answer, question: Question, begun: float, searched: float) -> Answer:
        """Add to an answer how long its parts took, and that the search went without the embedder where it did."""
        now = time.perf_counter()
        times = {"search": 1e3 * (searched - begun), "answer": 1e3 * (now - searched)}
        answer = replace(answer, milliseconds=answer.milliseconds | times)
        return _without(answer, BY_WORDS) if question.vector is None else answer

    async def flagged(self, tenant_id: int, document_id: str) -> Sequence[Passage]:
        """Return the passages of a document that are set aside."""
        call = self._retriever.flagged.remote(tenant_id, document_id)
        found: Sequence[Passage] = await reach("retriever", call, self._knowledge.timeout_s)
        return found

    async def health(self) -> Health:
        """Walk the whole way to the index once, and let the generator refuse a question that nothing was found for."""
        asked = Asked(BUILT_IN, "hydraulic pump", 1)
        generator = self._answered(Question(asked.text, "en", asked.limit), Found(()), PROBE_S)
        try:
            (question, found), refusal = await asyncio.gather(self._search(asked), generator)
        except Overloaded:
            return "degraded"
        except HdxError:
            return "down"
        return "ok" if found.hits and refusal and question.vector is not None else "degraded"


def _without(answer: Answer, said: str) -> Answer:
    """Mark an answer as one that a part was missing for."""
    return replace(answer, degraded=True, reason="; ".join(filter(None, (answer.reason, said))))


class GraphLibrary:
    """The way to the indexer of the graph."""

    def __init__(self, indexer: Handle) -> None:
        self._indexer = indexer

    def announce(self, tenant_id: int, document_id: str) -> None:
        """Say that a document waits; where that fails, it is found by itself."""
        try:
            self._indexer.announce.remote(tenant_id, document_id)
        except Exception as error:
            logs.write("hop.failed", logging.WARNING, error, part="indexer")

    async def settle(self, tenant_id: int, document_id: str) -> None:
        """Wait until a document is ready, failed, or gone."""
        await reach("indexer", self._indexer.settle.remote(tenant_id, document_id), SETTLE_S)


class GraphPromotions:
    """The way to the promoter of the graph."""

    def __init__(self, promoter: Handle) -> None:
        self._fleet, self._request, self._look = promoter.fleet, promoter.request, promoter.look

    async def fleet(self) -> Sequence[FleetModel]:
        """Ask what stands where."""
        found: Sequence[FleetModel] = await reach("promoter", self._fleet.remote(), PROMOTER_S)
        return found

    async def request(self, request: PromotionRequest) -> str:
        """Pass a request on; return the version that it names."""
        version: str = await reach("promoter", self._request.remote(request), PROMOTER_S)
        return version

    def look(self, name: str) -> None:
        """Say that an alias of a model has moved; where that fails, it is seen by itself."""
        try:
            self._look.remote(name)
        except Exception as error:
            logs.write("hop.failed", logging.WARNING, error, part="promoter")
