"""Between routes and what stands behind them: the ports that a route may ask for.

Exists so that one set of routes runs on fakes, on the graph in local testing mode and in a cluster.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from fastapi import Depends, Request

from configs.settings import Settings
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from pipelines.knowledge.records import Answer
from serve_app.cache import AnswerCache
from serve_app.metrics import Metrics
from serve_app.store.repository import Store

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


class Assistant(Protocol):
    """The way down to encoder, retriever and generator."""

    async def ask(self, tenant_id: int, text: str, limit: int) -> Answer:
        """Answer from the tenant's documents, or abstain."""
        ...

    async def health(self) -> Health:
        """Search the index for a known passage; anything but finding it is not `ok`."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the routes stand on."""

    settings: Settings
    store: Store
    diagnoser: Diagnoser
    assistant: Assistant
    cache: AnswerCache
    metrics: Metrics


async def services_of(request: Request) -> Services:
    """Return the services that this application was made with."""
    services: Services = request.app.state.services
    return services


Ports = Annotated[Services, Depends(services_of)]
