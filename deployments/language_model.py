"""A language model on vLLM in the same graph; to the generator one more writer."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from configs.settings import Knowledge
from deployments.runtime.cancellation import replica_may_stop
from pipelines.errors import HdxError, Unavailable
from pipelines.knowledge.answer.answer import Params
from pipelines.knowledge.answer.llm import Prompt
from pipelines.knowledge.answer.openai_client import END, content_of

# What the deployment is called in `serve status` and on the dashboard, behind the name that Ray gives its kind.
NAME = "hdx"
# Words that come within this time travel as one event: each costs every hop what a whole call does, and whole sentences
# go out anyway. Ray's own choice is half of it. Source: docs/retrieval.md, what 64 readers cost.
GATHERED_MS = 100


def language_model(knowledge: Knowledge, replica_cpus: float) -> Application:
    """Return the deployment of the model that the settings name; needs the extra `vllm`.

    Args:
        knowledge: Names the model, its accelerator and the engine's arguments.
        replica_cpus: What a replica reserves of a node, as every other one does; Ray's own choice is two whole cores.
    """
    from ray.serve.llm import LLMConfig, ModelLoadingConfig, build_llm_deployment

    placed: dict[str, Any] = (
        {"accelerator_type": knowledge.vllm_accelerator}
        if knowledge.vllm_accelerator
        else {
            "accelerator_config": {"kind": "cpu"},
            "placement_group_config": {"bundles": [{"CPU": replica_cpus}]},
        }
    )
    config = LLMConfig(
        model_loading_config=ModelLoadingConfig(model_id=NAME, model_source=knowledge.vllm_model),
        engine_kwargs=knowledge.vllm_engine,
        deployment_config={
            "autoscaling_config": {"min_replicas": 1, "max_replicas": knowledge.vllm_replicas},
            "ray_actor_options": {"num_cpus": replica_cpus},
        },
        experimental_configs={"stream_batching_interval_ms": GATHERED_MS},
        **placed,
    )
    built: Application = build_llm_deployment(config)
    return built


class GraphModel:
    """The model behind its handle."""

    def __init__(self, handle: DeploymentHandle[Any], name: str) -> None:
        # Takes ten seconds and more: now, and not in the first question.
        from ray.serve.llm.openai_api_models import ChatCompletionRequest

        self._handle = handle.options(stream=True)
        self._request = ChatCompletionRequest
        self.name = name

    async def write(self, prompt: Prompt, params: Params) -> AsyncGenerator[str]:
        """Write text in pieces; closing the generator stops the model.

        Raises:
            Unavailable: The model is down, refuses, or breaks off.
        """
        request = self._request(
            model=NAME,
            messages=prompt,
            temperature=params.temperature,
            max_tokens=params.tokens,
            stream=True,
        )
        events: Any = self._handle.chat.remote(request)
        ended = False
        try:
            with replica_may_stop():
                async for batch in events:
                    for line in _lines(batch):
                        if (data := line.removeprefix("data:").strip()) == END:
                            ended = True
                        elif line.startswith("data:") and (piece := content_of(data)):
                            yield piece
        except HdxError:
            raise
        except Exception as error:  # by gRPC Ray hands over the engine's own errors as they are
            raise Unavailable("generator", type(error).__name__) from None
        finally:
            events.cancel()
        if not ended:
            raise Unavailable("generator", "the stream broke off")


def _lines(batch: Any) -> Iterator[str]:
    """Return the lines of what Ray hands over at once: one event, or the list of those that came close together.

    Raises:
        Unavailable: It is no event of a stream.
    """
    for event in batch if isinstance(batch, list) else [batch]:
        if not isinstance(event, str):
            raise Unavailable("generator", "the model refuses the request")
        yield from event.splitlines()
