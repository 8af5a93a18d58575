"""Computes exact Shapley values of CatBoost's symmetric trees, kept by leaf, so that explaining a window is a look-up.

In a symmetric tree the leaf says how every question of the tree was answered, so that all rows of one leaf share one
explanation; CatBoost works it out anew for each row, at 0.9 ms a row for 300 trees.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.windows import Floats


@dataclass(frozen=True, slots=True, eq=False)
class LeafShares:
    """What each leaf of T trees of at most D levels gives to the columns that its tree asks about.

    Attributes:
        shares: `float64[T, 2**D, D]`, a column's whole share at the first level that asks about it.
        columns: `int64[T, D]`.
        width: Number of columns, R.
        base: What the shares of a row add to.
    """

    shares: Floats
    columns: NDArray[np.int64]
    width: int
    base: float

    def of(self, leaves: NDArray[np.integer[Any]]) -> Floats:
        """Return each row's shares by column.

        Shapes: `leaves` `int[N, T]` -> `float64[N, R]`.
        """
        rows, trees = leaves.shape
        weights = self.shares[np.arange(trees), leaves]
        places = self.columns + self.width * np.arange(rows)[:, None, None]
        total: Any = np.bincount(places.ravel(), weights.ravel(), rows * self.width)  # typed as counts, with no weights
        shares: Floats = total.reshape(rows, self.width)
        return shares


def leaf_shares(model: Any, width: int) -> LeafShares:
    """Work out the shares of a CatBoost model with one output.

    Source: Lundberg et al., Consistent Individualized Feature Attribution for Tree Ensembles (2018): what is not known
    is averaged along the tree by the rows that went each way in training. Equal to CatBoost's `ShapValues`, by test.
    """
    trees = _trees(model)
    scale, bias = model.get_scale_and_bias()
    levels = max((len(tree["splits"]) for tree in trees), default=0)
    shares = np.zeros((len(trees), 2**levels, levels))
    columns = np.zeros((len(trees), levels), dtype=np.int64)
    base = float(bias)
    for place, tree in enumerate(trees):
        asked = [split["float_feature_index"] for split in tree["splits"]]
        found, mean = _shares(asked, np.array(tree["leaf_values"]), np.array(tree["leaf_weights"]))
        shares[place, : len(found), : len(asked)] = scale * found
        columns[place, : len(asked)] = asked
        base += scale * mean
    return LeafShares(shares, columns, width, base)


def _trees(model: Any) -> list[Mapping[str, Any]]:
    with TemporaryDirectory() as folder:  # the library tells its trees to a file alone
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        found: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["oblivious_trees"]
    return found


def _shares(asked: Sequence[int], values: Floats, weights: Floats) -> tuple[Floats, float]:
    """Return each leaf's shares by level, `float64[2**D, D]`, and the tree's mean."""
    levels, leaves = len(asked), np.arange(len(values))
    bits = leaves >> np.arange(levels)[:, None] & 1
    same = bits[:, :, None] == bits[:, None, :]
    odds = _odds(weights, levels)

    def expected(known: frozenset[int]) -> Floats:
        """Return what each leaf's rows may expect when only some columns are known."""
        reach = np.ones((len(leaves), len(leaves)))
        for level, column in enumerate(asked):
            reach = reach * (same[level] if column in known else odds[level])
        return reach @ values

    players = sorted(set(asked))
    worth = {
        frozenset(known): expected(frozenset(known))
        for size in range(len(players) + 1)
        for known in combinations(players, size)
    }
    found = np.zeros((len(leaves), levels))
    for player in players:
        for known, without in worth.items():
            if player not in known:
                orders = factorial(len(known)) * factorial(len(players) - len(known) - 1) / factorial(len(players))
                found[:, asked.index(player)] += orders * (worth[known | {player}] - without)
    return found, float(worth[frozenset()][0])


def _odds(weights: Floats, levels: int) -> Floats:
    """Return by level and leaf the share of the rows that went the leaf's way there: `float64[D, 2**D]`.

    The root asks the last question; each answer before it halves the leaves that are left.
    """
    leaves = np.arange(len(weights))
    odds = np.zeros((levels, len(weights)))
    for level in range(levels):
        here = np.bincount(leaves >> (level + 1), weights)[leaves >> (level + 1)]
        there = np.bincount(leaves >> level, weights)[leaves >> level]
        np.divide(there, here, out=odds[level], where=here > 0)
    return odds
