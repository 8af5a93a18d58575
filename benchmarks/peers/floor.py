"""The floor of the comparison: plain FastAPI on one uvicorn process, which every figure is a ratio to."""

import hmac
import os
import sys
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

from benchmarks.peers.job import Job

app = FastAPI()
job = Job()
KEY = os.environ["HDX_BENCH_KEY"]


class Body(BaseModel):
    """One window."""

    sensor_data: dict[str, Any]
    use_cache: bool = False
    detail: str = "score"


class Bodies(BaseModel):
    """Many windows."""

    items: list[Body]


def check(key: str) -> None:
    """Let in who holds the key."""
    if not hmac.compare_digest(key.encode(), KEY.encode()):
        raise HTTPException(403)


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that it is up."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(body: Body, x_internal_api_key: Annotated[str, Header()] = "") -> dict[str, Any]:
    """Judge one window."""
    check(x_internal_api_key)
    return job.answer([body.sensor_data])[0]


@app.post("/predict/batch")
async def predict_batch(body: Bodies, x_internal_api_key: Annotated[str, Header()] = "") -> dict[str, Any]:
    """Judge many windows."""
    check(x_internal_api_key)
    return {"results": job.answer([item.sensor_data for item in body.items])}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
