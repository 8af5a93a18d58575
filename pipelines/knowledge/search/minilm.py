"""all-MiniLM-L6-v2 in numpy: what a sentence's words say, for English, in a tenth of the memory that torch takes.

Source: Wang et al. 2020 (MiniLM); Devlin et al. 2019 (BERT), whose encoder it is.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

HEADS = 12
LONGEST = 256  # pieces of words, the rest of a text is left out; source: the model's `sentence_bert_config.json`
EPSILON = 1e-12  # source: its `config.json`
# Pieces that go through the layers at once. Source: own choice; more is no faster, and takes 40 kB a piece.
AT_ONCE = 512


class _Layer(NamedTuple):
    name: str
    asking: Matrix
    bias: Matrix


class MiniLm:
    """The model in a folder of sentence-transformers' form; its weights stay on disk until they are used."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        self._weights = mapped(folder / "model.safetensors")
        self._layers = [self._layer(f"encoder.layer.{number}.") for number in range(self._count())]
        self.dims = int(self._weights["embeddings.LayerNorm.weight"].size)

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Encode texts.

        Shapes: `float32[N, dims]`, each row of length one.
        """
        pieces = [encoded.ids for encoded in self._tokenizer.encode_batch(list(texts))]
        parts, start = [], 0
        while start < len(pieces):
            end, taken = start + 1, len(pieces[start])
            while end < len(pieces) and taken + len(pieces[end]) <= AT_ONCE:
                taken += len(pieces[end])
                end += 1
            parts.append(self._pooled(pieces[start:end]))
            start = end
        return np.concatenate(parts) if parts else np.empty((0, self.dims), np.float32)

    def _pooled(self, pieces: Sequence[Sequence[int]]) -> Matrix:
        """Return the mean of each text's pieces after all layers, at length one."""
        ends = np.cumsum([len(part) for part in pieces])
        places = [slice(end - len(part), end) for end, part in zip(ends, pieces, strict=True)]
        words, positions, kinds = (
            self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        found = words[np.concatenate(pieces)] + np.concatenate([positions[: len(part)] for part in pieces]) + kinds[0]
        found = self._normed(found, "embeddings.LayerNorm")
        for layer in self._layers:
            found = self._through(found, layer, places)
        means = np.array([found[place].mean(axis=0) for place in places], np.float32)
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)

    def _through(self, found: Matrix, layer: "_Layer", places: Sequence[slice]) -> Matrix:
        """Send all pieces through one layer; each looks at those of its own text alone."""
        asked = found @ layer.asking + layer.bias
        seen = np.concatenate([_attended(asked[place]) for place in places])
        found = self._added(found, seen, f"{layer.name}attention.output")
        wide = _gelu(self._dense(found, f"{layer.name}intermediate.dense"))
        return self._added(found, wide, f"{layer.name}output")

    def _added(self, found: Matrix, more: Matrix, name: str) -> Matrix:
        return self._normed(found + self._dense(more, f"{name}.dense"), f"{name}.LayerNorm")

    def _dense(self, given: Matrix, name: str) -> Matrix:
        product: Matrix = given @ self._weights[f"{name}.weight"].T
        product += self._weights[f"{name}.bias"]
        return product

    def _normed(self, given: Matrix, name: str) -> Matrix:
        centred = given - given.mean(axis=1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=1, keepdims=True) + EPSILON)
        normed: Matrix = centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return normed

    def _layer(self, name: str) -> "_Layer":
        """Join what makes query, key and value of a piece, so that one product makes all three."""
        parts = [f"{name}attention.self.{part}" for part in ("query", "key", "value")]
        weight, bias = (
            np.concatenate([self._weights[f"{part}.{kind}"] for part in parts]) for kind in ("weight", "bias")
        )
        return _Layer(name, weight.T, bias)

    def _count(self) -> int:
        return 1 + max(int(name.split(".")[2]) for name in self._weights if name.startswith("encoder.layer."))


def mapped(path: Path) -> dict[str, Matrix]:
    """Map a safetensors file of 32-bit floats into memory, by name; other types of it are left out."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    whole = np.memmap(path, np.uint8, "r", offset=8 + size)
    return {
        name: whole[slice(*entry["data_offsets"])].view(np.float32).reshape(entry["shape"])
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


def _attended(asked: Matrix) -> Matrix:
    """Return what each piece takes from all pieces of its text (scaled dot-product attention)."""
    pieces = len(asked)
    query, key, value = asked.reshape(pieces, 3, HEADS, -1).transpose(1, 2, 0, 3)
    weight = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
    weight = np.exp(weight - weight.max(axis=-1, keepdims=True))
    seen: Matrix = (weight @ value) / weight.sum(axis=-1, keepdims=True)
    return seen.transpose(1, 0, 2).reshape(pieces, -1)


def _gelu(given: Matrix) -> Matrix:
    """Return the Gaussian error linear unit. Source: Hendrycks and Gimpel 2016, with the hyperbolic tangent."""
    bent: Matrix = 0.5 * given * (1 + np.tanh(math.sqrt(2 / math.pi) * given * (1 + 0.044715 * given * given)))
    return bent
