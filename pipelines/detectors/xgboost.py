"""Detects by XGBoost's gradient-boosted trees, which grow unlike CatBoost's and so give a second opinion."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from pipelines.detectors.base import Ballot, Detail, Examples, FeatureTable
from pipelines.detectors.masking import lesson
from pipelines.diagnosis.calibration import expit

ANOMALY = "anomaly"
SUFFIX = ".ubj"
# Source: exact TreeSHAP costs 0.4 ms a row at depth 4 and twice that at depth 5; on groups left out both ranked alike.
TREES, HEAD_TREES = 300, 80
# Bytes of each UBJSON value, and which of them are integers; containers that have a closing mark.
SIZES = {ord(mark): size for mark, size in {"Z": 0, "N": 0, "T": 0, "F": 0, "C": 1, "d": 4, "D": 8}.items()}
INTEGERS = {ord(mark): size for mark, size in {"i": 1, "U": 1, "I": 2, "l": 4, "L": 8}.items()}
SIZES |= INTEGERS
ARRAY, OBJECT = -1, -2
COMMON = {
    "nthread": 1,
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.08,
    "min_child_weight": 3.0,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "verbosity": 0,
}


class XGBoost:
    """One model for `anomaly`, and one a head."""

    name: ClassVar[str] = "xgboost"
    supervised: ClassVar[bool] = True
    # Source: own choice; a third to three times the shipped ones, no deeper than what scores a window as quickly.
    space: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "max_depth": (3, 4, 5),
        "eta": (0.03, 0.05, 0.08, 0.12, 0.2),
        "min_child_weight": (1.0, 3.0, 9.0),
        "subsample": (0.6, 0.8, 1.0),
        "colsample_bytree": (0.3, 0.6, 1.0),
    }

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)
        models = {name.removesuffix(SUFFIX): _booster(content) for name, content in files.items()}
        self._anomaly = models.pop(ANOMALY)
        self._heads = {name.removeprefix("head-"): models[name] for name in sorted(models)}

    @classmethod
    def fit(cls, examples: Examples, seed: int, **settings: float) -> Self:
        """Fit on labelled windows; the same examples, seed and settings give the same detector, byte for byte."""
        from xgboost import DMatrix, train

        lessons = lesson(examples, seed)
        common = COMMON | {"seed": seed} | settings
        truth = DMatrix(lessons.features, lessons.anomaly.astype(np.float32), nthread=1)
        models = {ANOMALY: train({**common, "objective": "binary:logistic"}, truth, TREES)}
        for head in lessons.heads:
            shape = {"objective": "multi:softprob", "num_class": examples.classes[head]}
            features, target = lessons.of(head)
            grades = DMatrix(features, target.astype(np.float32), nthread=1)
            models[f"head-{head}"] = train({**common, **shape}, grades, HEAD_TREES)
        return cls({f"{name}{SUFFIX}": bytes(model.save_raw("ubj")) for name, model in models.items()})

    def vote(self, table: FeatureTable, detail: Detail = "full") -> Ballot:
        """Judge windows; contributions are additive in log-odds."""
        from xgboost import DMatrix

        if not len(table.read):
            return Ballot(np.zeros(0), {}, np.zeros(table.read.shape))
        odds = self._anomaly.inplace_predict(table.read, predict_type="margin")
        heads = {
            name: np.asarray(model.inplace_predict(table.read), dtype=np.float64)
            for name, model in (self._heads.items() if detail != "score" else ())
        }
        score = expit(np.asarray(odds, dtype=np.float64))
        if detail != "full":
            return Ballot(score, heads)
        matrix = DMatrix(table.read, nthread=1)
        shares = np.asarray(self._anomaly.predict(matrix, pred_contribs=True), dtype=np.float64)
        return Ballot(score, heads, shares[:, :-1], float(shares[0, -1]))

    def save(self) -> dict[str, bytes]:
        """Return one `.ubj` file a model."""
        return dict(self._files)

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `save`."""
        return cls(files)


def check_whole(content: bytes) -> None:
    """Walk through a UBJSON document once: XGBoost's own reader goes on past the end of a file that was cut off.

    Raises:
        ValueError: It does not end where the file does.
        LookupError: It ends too late, or is no UBJSON.

    Source: https://ubjson.org/type-reference/; XGBoost writes counts and lengths as integers of any type.
    """
    place, inside = 0, [1]  # of each container that is open, values to come, or by which mark it ends

    def number() -> int:
        nonlocal place
        size = INTEGERS[content[place]]
        found = int.from_bytes(content[place + 1 : place + 1 + size], "big", signed=content[place] != ord("U"))
        place += 1 + size
        if not 0 <= found <= len(content):
            raise ValueError("a count or length that no file of this size has")
        return found

    while inside:
        if inside[-1] == 0 or (inside[-1] < 0 and content[place] in b"]}"):
            place += inside.pop() < 0
            continue
        inside[-1] -= inside[-1] > 0
        if inside[-1] == OBJECT:
            length = number()
            place += length  # of its key
        mark, place = chr(content[place]), place + 1
        if mark == "[" and content[place] == ord("$"):
            size, place = SIZES[content[place + 1]], place + 3
            count = number()
            place += count * size
        elif mark == "[" and content[place] == ord("#"):
            place += 1
            inside.append(number())
        elif mark in "[{":
            inside.append(ARRAY if mark == "[" else OBJECT)
        else:
            length = number() if mark == "S" else SIZES[ord(mark)]
            place += length
    if place != len(content):
        raise ValueError("does not end where the file does")


def _booster(content: bytes) -> Any:
    from xgboost import Booster

    check_whole(content)
    booster = Booster()
    booster.load_model(bytearray(content))
    booster.set_param({"nthread": 1})
    return booster
