"""Rules of the comparison with other servers: all of them answer one and the same."""

import sys
from pathlib import Path

from benchmarks.speed import HDX, KEY, PEERS, answering, save_models, scores
from tests.serve.service import Service


def test_the_floor_answers_as_the_service(service: Service, tmp_path: Path) -> None:
    """The job that every peer serves, over HTTP, scores windows to the last bit as the service does."""
    models = tmp_path / "models"
    save_models(service, models)
    (floor, *_), theirs = PEERS, {"X-Internal-API-Key": KEY}
    ours = {"X-Internal-API-Key": service.secret("HDX_ML_INTERNAL_API_KEY")}
    with answering(floor, Path(sys.executable), tmp_path, models, theirs) as (base, _):
        found = scores(floor, base, theirs)
    assert len(set(found)) > 100
    assert scores(HDX["HDX spread"], service.base, ours) == found
