"""Detects by a random forest, grown by scikit-learn and served by ONNX Runtime: it averages where boosted trees add."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import Ballot, Detail, Examples, FeatureTable
from pipelines.detectors.masking import lesson
from pipelines.errors import ArtefactRejected
from pipelines.signals.windows import Floats

ANOMALY = "anomaly"
SUFFIX = ".onnx"
FILLING = "filling.json"
# Source: own choice within a budget: 4,000 windows and a head of 13 classes are fitted in five seconds on one core.
TREES, HEAD_TREES = 120, 60
COMMON = {"max_depth": 12, "min_samples_leaf": 3, "max_features": "sqrt", "n_jobs": 1}
# Source: ONNX holds thresholds in single precision; 8e-7 was measured on forests of this size.
TOLERANCE = 1e-5


class Forest:
    """One forest for `anomaly`, and one a head; a missing feature reads as in a healthy window."""

    name: ClassVar[str] = "random_forest"
    supervised: ClassVar[bool] = True
    # Source: own choice; about the shipped ones, with leaves no smaller than what keeps the files small.
    space: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "max_depth": (8, 12, 16),
        "min_samples_leaf": (2, 3, 5, 9),
        "max_features": (0.1, 0.2, 0.4),
    }

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)
        filling = json.loads(files[FILLING])
        self._medians = np.array(filling["medians"], dtype=np.float64)
        self._classes: dict[str, list[int]] = filling["classes"]
        self._width: dict[str, int] = filling["width"]
        names = (name for name in sorted(files) if name.endswith(SUFFIX))
        self._sessions = {name.removesuffix(SUFFIX): _session(files[name]) for name in names}

    @classmethod
    def fit(cls, examples: Examples, seed: int, **settings: float) -> Self:
        """Fit on labelled windows; the same examples, seed and settings give the same detector, byte for byte.

        Raises:
            ArtefactRejected: The exported forest does not answer as the fitted one.
        """
        from sklearn.ensemble import RandomForestClassifier

        lessons = lesson(examples, seed)
        medians = _medians(examples)
        shape = {"random_state": seed, **COMMON, **settings}
        everything = _filled(lessons.features, medians)
        forests = {ANOMALY: RandomForestClassifier(TREES, **shape).fit(everything, lessons.anomaly.astype(np.int64))}
        for head in lessons.heads:
            features, target = lessons.of(head)
            forests[f"head-{head}"] = RandomForestClassifier(HEAD_TREES, **shape).fit(
                _filled(features, medians), target
            )
        filling = {
            "medians": medians.tolist(),
            "classes": {name: forest.classes_.tolist() for name, forest in forests.items()},
            "width": {ANOMALY: 2} | {f"head-{head}": examples.classes[head] for head in lessons.heads},
        }
        files = {f"{name}{SUFFIX}": _exported(forest, everything.shape[1]) for name, forest in forests.items()}
        fitted = cls({**files, FILLING: json.dumps(filling, sort_keys=True).encode()})
        fitted._check(forests, everything)
        return fitted

    def _check(self, forests: Mapping[str, Any], features: NDArray[np.float32]) -> None:
        for name, forest in forests.items():
            apart = np.abs(self._run(name, features)[:, self._classes[name]] - forest.predict_proba(features))
            if not apart.max() <= TOLERANCE:
                raise ArtefactRejected(f"{name}{SUFFIX}", f"differs from the fitted forest by {apart.max():.1e}")

    def _run(self, name: str, features: NDArray[np.float32]) -> Floats:
        """Return the probability of every class of a target, 0 for one that no example had."""
        (found,) = self._sessions[name].run(["probabilities"], {"features": features})
        probability = np.zeros((len(features), self._width[name]))
        probability[:, self._classes[name]] = found
        return probability

    def vote(self, table: FeatureTable, detail: Detail = "full") -> Ballot:
        """Judge windows; a forest has no additive contributions."""
        features = _filled(table.read, self._medians)
        asked = [name for name in self._sessions if name != ANOMALY and detail != "score"]
        heads = {name.removeprefix("head-"): self._run(name, features) for name in asked}
        return Ballot(self._run(ANOMALY, features)[:, 1], heads)

    def save(self) -> dict[str, bytes]:
        """Return one `.onnx` file a forest, and what fills missing features as JSON."""
        return dict(self._files)

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `save`."""
        return cls(files)


def _medians(examples: Examples) -> Floats:
    """Return each feature's median over healthy windows; 0 for one that none of them has."""
    healthy = examples.table.read[~examples.anomaly]
    known = ~np.isnan(healthy).all(axis=0)
    medians = np.zeros(healthy.shape[1])
    medians[known] = np.nanmedian(healthy[:, known], axis=0)
    return medians


def _filled(features: Floats, medians: Floats) -> NDArray[np.float32]:
    return np.where(np.isnan(features), medians, features).astype(np.float32)


def _exported(forest: Any, width: int) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    model = to_onnx(
        forest,
        initial_types=[("features", FloatTensorType([None, width]))],
        options={id(forest): {"zipmap": False}},
    )
    content: bytes = model.SerializeToString()
    return content


def _session(content: bytes) -> Any:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return InferenceSession(content, options, providers=["CPUExecutionProvider"])
