"""Turns questions and passages into vectors; the one part that gains from a GPU."""

import numpy as np
from ray import serve

from deployments.runtime.bind_address import keep_to_node_address
from pipelines.knowledge.records import Made
from pipelines.knowledge.search.encoder import Encoder
from pipelines.signals.windows import Floats


@serve.deployment
class Embedder:
    """Holds the sentence encoder."""

    def __init__(self, encoder_path: str, device: str) -> None:
        keep_to_node_address()
        self._encoder = Encoder.load(encoder_path, device)

    async def encode(self, texts: list[str]) -> tuple[Floats, Made]:
        """Return one normalised vector a text, `float64[N, dims]`, and what they are known by."""
        return self._encoder.encode(texts).astype(np.float64), self._encoder.made

    def check_health(self) -> None:
        """Encode a word; a replica that cannot is replaced."""
        self._encoder.encode(["pump"])
