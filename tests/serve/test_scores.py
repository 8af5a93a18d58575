"""Rules of one window judged by three ways."""

from pathlib import Path

import pandas as pd

from pipelines.datasets.simulator import HEALTHY, simulate
from pipelines.detectors.members import registry
from pipelines.diagnosis.records import Inspection
from pipelines.machines.family import read_family
from pipelines.promotion.mlflow_client import load_members
from pipelines.scoring.score import judged
from tests.serve.promotions import registry_of
from tests.serve.service import Service

FAULTS = (HEALTHY, "pump_wear", "cooler_fouling", "valve_lag", "sensor_drift", "air_in_oil")


def test_rest_score_and_evaluate_agree_bit_for_bit(service: Service, tmp_path: Path) -> None:
    """Windows get the very same scores over REST, from `hdx score` in one process and in several, and in `evaluate`."""
    family = read_family("generic")
    windows = [simulate(fault, 0.5, samples, seed) for seed, fault in enumerate(FAULTS) for samples in (3, 5, 60)]
    values = [{name: samples.tolist() for name, samples in window.values.items()} for window in windows]
    key = {"X-Internal-API-Key": service.secret("HDX_ML_INTERNAL_API_KEY")}
    items = [{"sensor_data": {"system_id": 1, **each}, "use_cache": False} for each in values]
    with service.client() as client:
        reply = client.post("/internal/ml/api/v1/predict/batch", json={"items": items}, headers=key)
    over_rest = [result["prediction"]["anomaly_score"] for result in reply.raise_for_status().json()["results"]]

    source, target, folder = tmp_path / "in.parquet", tmp_path / "out.parquet", tmp_path / "out"
    pd.DataFrame(values).to_parquet(source)
    service.hdx("score", "--family", "generic", str(source), str(target))
    service.hdx("score", "--family", "generic", "--workers", "1", str(source), str(folder))

    members = load_members(registry_of(service), "generic", tuple(registry()))
    evaluated = judged([Inspection(window, "generic") for window in windows], family, members)

    pd.testing.assert_frame_equal(pd.read_parquet(folder), pd.read_parquet(target), check_exact=True)
    assert over_rest == pd.read_parquet(target)["score"].tolist() == [diagnosis.score for diagnosis in evaluated]
