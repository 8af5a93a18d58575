"""Composes all deployments into one application: the whole graph, each part bound to what it needs and to nothing more.

`serve_config.yaml` names `build` and says how many replicas of each part there are.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR  # Serve passes on no other way to a hook
from ray.serve import Application

from configs.settings import Graph, Settings, read_settings
from serve_app.local.cluster import DETECTOR

if TYPE_CHECKING:
    from deployments.detector import DetectorConfig

GATEWAY = "Gateway"  # as `serve_config.yaml` calls it


class Arguments(BaseModel):
    """Arguments of the application in `serve_config.yaml`.

    Attributes:
        detectors: Members of the ensemble by public name; empty means all.
        revision: Any text; changing it replaces every replica, so that edited code is loaded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    detectors: tuple[str, ...] = ()
    revision: str = Field(default="", max_length=100)


def build(arguments: Arguments) -> Application:
    """Return the graph: gateway, ensemble over detectors, embedder, retriever, generator, indexer, promoter, worker.

    Raises:
        ValueError: A setting or a detector's name is unknown.
    """
    return compose(read_settings(), arguments.detectors)


def compose(settings: Settings, names: Sequence[str] = ()) -> Application:
    """Bind every deployment to what it needs and to nothing more."""
    from deployments.embedder import Embedder
    from deployments.generator import Generator
    from deployments.language_model import language_model
    from deployments.retriever import Retriever
    from serve_app.replicas.gateway import Gateway
    from serve_app.replicas.indexer import Indexer
    from serve_app.replicas.promoter import Promoter
    from serve_app.replicas.worker import Worker

    knowledge, graph = settings.knowledge, settings.graph
    model = [language_model(knowledge, graph.replica_cpus)] if knowledge.generator == "vllm" else []
    embedder = sized(Embedder, graph, graph.encoder_gpus).bind(knowledge.encoder_path, knowledge.device)
    promoter = sized(Promoter, graph).bind(settings)
    gateway: Application = sized(Gateway, graph).bind(
        settings,
        place_ensemble(settings, promoter, names),
        embedder,
        sized(Retriever, graph).bind(settings.home / "knowledge", knowledge.encoder_multilingual),
        sized(Generator, graph, graph.generator_gpus).bind(knowledge, *model),
        sized(Indexer, graph).bind(settings, embedder),
        promoter,
        sized(Worker, graph).bind(settings, GATEWAY),
    )
    return gateway


def sized(deployment: Any, graph: Graph, gpus: float = 0, **options: str) -> Any:
    """Return a deployment whose replicas reserve what the settings say."""
    resources = {"num_cpus": graph.replica_cpus, "num_gpus": gpus}
    lean = {"env_vars": {WORKER_PROCESS_SETUP_HOOK_ENV_VAR: "deployments.runtime.worker_setup.import_serve"}}
    return deployment.options(ray_actor_options={**resources, "runtime_env": lean}, **options)


def place_ensemble(
    settings: Settings, promoter: Application, names: Sequence[str]
) -> "Application | dict[str, DetectorConfig]":
    """Return the ensemble over its detectors, or, by name in the registry's order, what the gateway itself follows."""
    from deployments.detector import DetectorConfig, DetectorReplica
    from deployments.ensemble import EnsembleReplica
    from pipelines.detectors.members import registry
    from serve_app.shared.registry_access import access_of

    known = tuple(registry())
    if unknown := set(names) - set(known):
        raise ValueError(f"unknown detectors {sorted(unknown)}; there are {', '.join(known)}")
    models, graph = settings.models, settings.graph
    chosen = [name for name in known if not names or name in names]
    access = access_of(settings)
    followed = {name: DetectorConfig(name, access, models.poll_s) for name in chosen}
    if graph.placement == "packed":
        return followed
    detectors = {n: sized(DetectorReplica, graph, name=f"{DETECTOR}{n}").bind(f, promoter) for n, f in followed.items()}
    ensemble: Application = sized(EnsembleReplica, graph).bind(detectors, models.quorum, models.vote_timeout_s)
    return ensemble


def __getattr__(name: str) -> Any:
    """Build `graph` when asked for it: `serve build` wants an application, not a builder."""
    if name == "graph":
        return build(Arguments())
    raise AttributeError(name)
