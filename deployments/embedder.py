"""Turns questions and passages into vectors."""

import logging

import numpy as np
from ray import serve

from deployments.runtime.bind_address import keep_to_node_address
from pipelines.errors import ArtefactRejected, Unavailable
from pipelines.knowledge.records import Made
from pipelines.knowledge.search.encoder import Encoder
from pipelines.signals.windows import Floats


@serve.deployment
class Embedder:
    """Holds the sentence encoder; where it cannot be had, questions go on by words, and the service stands."""

    def __init__(self, encoder_path: str, device: str) -> None:
        keep_to_node_address()
        self._encoder: Encoder | None = None
        try:
            self._encoder = Encoder.load(encoder_path, device)
        except ArtefactRejected as error:
            self._missing = str(error)
            logging.getLogger("ray.serve").error("No encoder, searched by words alone: %s", error)

    async def encode(self, texts: list[str]) -> tuple[Floats, Made]:
        """Return one normalised vector a text, `float64[N, dims + shared]`, and what they are known by."""
        if self._encoder is None:
            raise Unavailable("embedder", self._missing)
        return self._encoder.encode(texts).astype(np.float64), self._encoder.made

    def check_health(self) -> None:
        """Encode a word; a replica that cannot is replaced."""
        if self._encoder is not None:
            self._encoder.encode(["pump"])
