"""The first replica that a request meets: opens the ports that routes ask for and serves the application over them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import FastAPI
from ray import serve

from configs.settings import Settings
from deployments.runtime.bind_address import keep_to_node_address
from pipelines.promotion.mlflow_client import Registry
from pipelines.promotion.tenant_models import TenantModels
from serve_app.api.app import create_app
from serve_app.api.ports import Services
from serve_app.detection import Detection
from serve_app.replicas.graph_ports import GraphAssistant, GraphDiagnoser, GraphLibrary, GraphPromotions, Handle
from serve_app.shared.cache import AnswerCache
from serve_app.shared.metrics import Metrics
from serve_app.shared.registry_access import access_of
from serve_app.store.repository import Store
from serve_app.watching import Watching

if TYPE_CHECKING:
    from deployments.detector import DetectorConfig
    from deployments.ensemble import Ensemble


def _make_ensemble(followed: "Mapping[str, DetectorConfig]", settings: Settings, promoter: Handle) -> "Ensemble":
    from deployments.ensemble import Ensemble  # the models' libraries: only where models are

    return Ensemble(followed, settings.models.quorum, settings.models.vote_timeout_s, promoter)


@serve.deployment
@serve.ingress()
class Gateway:
    """The HTTP front of the application."""

    def __init__(
        self,
        settings: Settings,
        ensemble: "Handle | Mapping[str, DetectorConfig]",
        embedder: Handle,
        retriever: Handle,
        generator: Handle,
        indexer: Handle,
        promoter: Handle,
        worker: Handle,  # a part of the graph that nobody calls: it takes its work from the queue, and calls `watch`
    ) -> None:
        keep_to_node_address()
        if settings.database.url is None:
            raise ValueError("HDX_DATABASE__URL is not set; `hdx run` sets it to the embedded PostgreSQL")
        self._inside: Ensemble | None = None
        tenant_models = TenantModels(Registry(access_of(settings)), settings.models.own_poll_s)
        tenant_models.start()
        if isinstance(ensemble, Mapping):
            self._inside = _make_ensemble(ensemble, settings, promoter)
            diagnoser = GraphDiagnoser(self._inside.diagnose, self._inside.members, settings, tenant_models)
        else:
            # Naming a method makes a new handle: once here, and not once a call.
            diagnoser = GraphDiagnoser(ensemble.diagnose.remote, ensemble.members.remote, settings, tenant_models)
        url = settings.database.url.get_secret_value()
        self._services = Services(
            settings=settings,
            store=Store.open(url, settings.database.pool_size, settings.database.waits, settings.archive_url),
            diagnoser=diagnoser,
            assistant=GraphAssistant(embedder, retriever, generator, settings),
            library=GraphLibrary(indexer),
            promotions=GraphPromotions(promoter),
            cache=AnswerCache.open(settings),
            metrics=Metrics(),
        )
        self._watching = Watching(Detection(self._services))

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application that this replica serves."""
        return create_app(self._services)

    async def watch(self, tenant_id: int, system_id: int) -> None:
        """Judge what a system has sent, without being asked."""
        await self._watching.look(tenant_id, system_id)

    async def check_health(self) -> None:
        """Let detectors that live in this replica score the probe window again."""
        if self._inside is not None:
            await self._inside.check_health()
