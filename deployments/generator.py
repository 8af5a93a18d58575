"""Turns passages into an answer whose every sentence is cited, by quoting or by a language model.

A model can be put in, taken out or fail without the route noticing.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from configs.settings import Knowledge
from deployments.language_model import GraphModel
from deployments.runtime.bind_address import keep_to_node_address
from pipelines.knowledge.answer.advice import advised
from pipelines.knowledge.answer.answer import Engine, Event, Extractive, Params
from pipelines.knowledge.answer.llm import LanguageModel
from pipelines.knowledge.answer.openai_client import ChatServer
from pipelines.knowledge.records import Answer, Found, Question


@serve.deployment
class Generator:
    """Answers with the engine that the settings name."""

    def __init__(self, knowledge: Knowledge, model: DeploymentHandle[Any] | None = None) -> None:
        keep_to_node_address()
        self._engine = engine_of(knowledge, model)

    async def stream(self, question: Question, found: Found) -> AsyncIterator[Event]:
        """Yield the answer in pieces, and the whole of it last."""
        async for event in self._engine.stream(question, found.hits, Params()):
            yield advised(event, question, found) if isinstance(event, Answer) else event

    async def answer(self, question: Question, found: Found) -> Answer:
        """Return the whole answer."""
        events = [event async for event in self.stream(question, found)]
        return next(event for event in reversed(events) if isinstance(event, Answer))


def engine_of(knowledge: Knowledge, model: DeploymentHandle[Any] | None) -> Engine:
    """Return the engine that the settings name."""
    match knowledge.generator:
        case "openai":
            return LanguageModel(ChatServer(knowledge), knowledge.timeout_s)
        case "vllm" if model is not None:
            return LanguageModel(GraphModel(model, Path(knowledge.vllm_model).name), knowledge.timeout_s)
        case _:
            return Extractive()
