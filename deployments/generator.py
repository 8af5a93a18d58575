"""On the ask path, last: passages become an answer whose every sentence is cited.

Exists so that a language model can be put in, taken out or fail without the route noticing.
"""

from collections.abc import Sequence

from ray import serve

from configs.settings import Knowledge
from deployments.listening import keep_to_node_address
from pipelines.knowledge.answer import extract
from pipelines.knowledge.llm import generate
from pipelines.knowledge.records import Answer, Hit, Question


@serve.deployment
class Generator:
    """Answers with the engine that the settings name."""

    def __init__(self, knowledge: Knowledge) -> None:
        keep_to_node_address()
        self._knowledge = knowledge

    async def answer(self, question: Question, hits: Sequence[Hit]) -> Answer:
        """Answer from the passages, or abstain."""
        if self._knowledge.generator == "openai":
            return await generate(question, hits, self._knowledge)
        return extract(question, hits)
