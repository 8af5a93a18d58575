"""The ports that a route may ask for, and `Services`, which holds what stands behind them.

`replicas/graph_ports` reaches the graph through them; tests put stand-ins in their place.
"""

from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Protocol

from fastapi import Depends, Request

from configs.settings import Settings
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from pipelines.knowledge.answer.answer import Event
from pipelines.knowledge.records import Answer, Hit, Passage
from pipelines.promotion.rollout import PromotionRequest
from serve_app.shared.cache import AnswerCache
from serve_app.shared.fleet import FleetModel
from serve_app.shared.metrics import Metrics
from serve_app.store.protocols import StoreParts

Health = Literal["ok", "degraded", "down"]


class Diagnoser(Protocol):
    """The way down to the ensemble."""

    def diagnose(self, inspection: Inspection) -> Awaitable[Judgement]:
        """Judge one window; concurrent calls are gathered into one micro-batch.

        Raises:
            NoQuorum: Too few detectors voted.
            Unavailable: The ensemble cannot be reached.
        """
        ...

    async def members(self) -> Sequence[MemberStatus]:
        """Report every detector's trained version of every family, as its replica sees it now."""
        ...


class Asked(NamedTuple):
    """A question with whose documents may answer it.

    Attributes:
        limit: Most passages to show.
        context: What is known of the machine asked about, in a sentence.
    """

    tenant_id: int
    text: str
    limit: int
    context: str = ""


class Assistant(Protocol):
    """The way down to encoder, retriever and generator."""

    async def ask(self, asked: Asked) -> Answer:
        """Answer from the tenant's documents, or abstain."""
        ...

    def stream(self, asked: Asked) -> AsyncGenerator[tuple[Hit, ...] | Event]:
        """Yield the passages found, the answer in pieces that add up to its text, and the whole of it last.

        Closing the iterator stops the work behind it.

        Raises:
            Unavailable: A part cannot be reached.
        """
        ...

    async def flagged(self, tenant_id: int, document_id: str) -> Sequence[Passage]:
        """Return the passages of a document that are never quoted, as they give orders; `flag` says what each attempts.

        Raises:
            Unavailable: The index cannot be reached.
        """
        ...

    async def health(self) -> Health:
        """Search the index for a known passage: `degraded` where it is found, but encoder or generator is away."""
        ...


class Library(Protocol):
    """The way to the one writer of the index."""

    def announce(self, tenant_id: int, document_id: str) -> None:
        """Say that a document waits; it is found without, only later."""
        ...

    async def settle(self, tenant_id: int, document_id: str) -> None:
        """Wait until a document is ready, failed, or gone.

        Raises:
            Unavailable: The writer cannot be reached; it will find the work when it is back.
        """
        ...


class Promotions(Protocol):
    """The way to whoever leads new versions into the fleet."""

    async def fleet(self) -> Sequence[FleetModel]:
        """Say of every registered model what stands where, and what its replicas hold.

        Raises:
            Unavailable: It cannot be reached.
        """
        ...

    async def request(self, request: PromotionRequest) -> str:
        """Move a model as asked; return the version that shall answer.

        Raises:
            NotFound: There is no such model or version.
            Conflict: There is nothing to go back to.
            Unavailable: The registry does not answer.
        """
        ...

    def look(self, name: str) -> None:
        """Say that an alias of a model has moved; without it that is seen only later."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the routes stand on."""

    settings: Settings
    store: StoreParts
    diagnoser: Diagnoser
    assistant: Assistant
    library: Library
    promotions: Promotions
    cache: AnswerCache
    metrics: Metrics


async def services_of(request: Request) -> Services:
    """Return the services that this application was made with."""
    services: Services = request.app.state.services
    return services


Ports = Annotated[Services, Depends(services_of)]
