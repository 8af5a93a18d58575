"""Rewrites `openapi.json`, the snapshot of the HTTP contract, after a wanted change: `make openapi`."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serve_app.api.app import create_app
from tests.contract.stand_ins import make_bench

SNAPSHOT = Path(__file__).parent / "openapi.json"


def contract() -> dict[str, Any]:
    """Return what `/openapi.json` answers."""
    with TemporaryDirectory() as home:
        return create_app(make_bench(Path(home)).services).openapi()


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(contract(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
