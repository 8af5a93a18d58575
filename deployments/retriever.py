"""Finds the passages of a question; readers of the index scale apart from its one writer."""

from pathlib import Path

from ray import serve

from deployments.runtime.bind_address import keep_to_node_address
from pipelines.knowledge.records import Found, Passage, Question
from pipelines.knowledge.search.index import Index


@serve.deployment
class Retriever:
    """Reads the index; never writes it."""

    def __init__(self, folder: Path, multilingual: bool) -> None:
        keep_to_node_address()
        self._index = Index.open(folder, multilingual)

    def search(self, tenant_id: int, question: Question) -> Found:
        """Return the passages of the tenant and of the built-in knowledge that fit best, best first."""
        return self._index.find(tenant_id, question)

    def flagged(self, tenant_id: int, document_id: str) -> list[Passage]:
        """Return the passages of a tenant's document that are set aside, as they give orders."""
        return self._index.flagged(tenant_id, document_id)

    def count(self, tenant_id: int) -> int:
        """Return how many passages the tenant's table holds."""
        return self._index.count(tenant_id)
