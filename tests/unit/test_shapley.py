"""Exact Shapley values of symmetric trees, against those of CatBoost itself."""

import numpy as np
import pytest
from catboost import CatBoost, Pool

from pipelines.detectors.shapley import leaf_shares

ROWS = 400
QUIET = {"verbose": False, "allow_writing_files": False}


@pytest.mark.parametrize("columns", [1, 2, 7])
@pytest.mark.parametrize("depth", [1, 4])
def test_equal_to_the_library(columns: int, depth: int) -> None:
    """Also where a tree asks about one column twice, where values are missing, and where no training row ever went."""
    random = np.random.default_rng(columns)
    rows = random.normal(size=(ROWS, columns))
    rows[random.random(rows.shape) < 0.1] = np.nan
    truth = (np.nan_to_num(rows).sum(axis=1) + random.normal(size=ROWS) > 0).astype(int)
    model = CatBoost({"iterations": 30, "depth": depth, "loss_function": "Logloss", **QUIET})
    model.fit(rows, truth)
    strange = 10 * random.normal(size=(ROWS, columns))
    own = model.get_feature_importance(Pool(strange), type="ShapValues", shap_calc_type="Regular")
    table = leaf_shares(model, columns)
    found = table.of(model.calc_leaf_indexes(strange))
    assert np.abs(found - own[:, :-1]).max() < 1e-12
    assert abs(table.base - own[0, -1]) < 1e-12
    assert np.array_equal(table.of(model.calc_leaf_indexes(strange[:1])), found[:1])
