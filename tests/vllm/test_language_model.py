"""Rules of the graph with a language model in it: a real vLLM on the CPU, and a model trained here for it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.datasets.simulator import simulate
from tests.contract.calls import STREAM, read_events
from tests.serve.service import Service
from tests.vllm.tiny import LONG_QUESTION, LONGEST, lessons, train

pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")
pytestmark = pytest.mark.timeout(1800, func_only=True)

DIAGNOSE, QUERY = "/api/diagnostics/diagnose/", "/api/rag/query/"
BACK_S = 300  # what Ray may take to notice a dead engine and to start another; it starts in one to three minutes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned the repairs of every fault of `generic`."""
    folder = tmp_path_factory.mktemp("tiny")
    assert train(lessons(folder / "index"), folder / "hdx-tiny") < 0.1
    return folder / "hdx-tiny"


@pytest.fixture(scope="module")
def talking(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with that model in its graph."""
    settings = {
        "HDX_KNOWLEDGE__GENERATOR": "vllm",
        "HDX_KNOWLEDGE__VLLM_MODEL": str(model),
        "HDX_KNOWLEDGE__VLLM_ENGINE": json.dumps({"max_model_len": LONGEST, "enforce_eager": True, "dtype": "float32"}),
        "HDX_GRAPH__PLACEMENT": "packed",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    service = Service(tmp_path_factory.mktemp("clone"), settings).start()
    yield service
    service.stop()


def faulty(service: Service, client: Any, fault: str) -> dict[str, Any]:
    """Return the body of a window of a faulty machine."""
    values = {name: samples.tolist() for name, samples in simulate(fault, 1.0, 60, 3).values.items()}
    system = client.post("/api/systems/", json={"name": fault, "family": "generic"}).json()["system_id"]
    return {"system_id": system, "sensor_data": values, "language": "en", "max_results": 1}


def engines(service: Service) -> list[psutil.Process]:
    """Return the processes of vLLM's engine that belong to this service."""
    assert service.process is not None
    found = psutil.Process(service.process.pid).children(recursive=True)
    return [process for process in found if "VLLM::" in " ".join(process.cmdline())]


def writes(service: Service) -> bool:
    """Tell whether the engine works: more than a third of a core over half a second."""
    before = sum(sum(process.cpu_times()[:2]) for process in engines(service))
    time.sleep(0.5)
    return sum(sum(process.cpu_times()[:2]) for process in engines(service)) - before > 0.17


def test_the_model_words_a_diagnosis(talking: Service) -> None:
    """Its sentences stand on quotes of the source, and nothing had to step in for it."""
    with talking.client() as client:
        answer = client.post(DIAGNOSE, json=faulty(talking, client, "cavitation")).raise_for_status().json()
        advice = answer["advice"]
        assert (advice["metadata"]["model"], advice["metadata"]["degraded"]) == ("hdx-tiny", False)
        assert advice["metadata"]["grounded"]
        assert advice["citations"]
        for citation in advice["citations"][:1]:
            place = f"/api/rag/documents/{citation['document_id']}/pages/{citation['page']}/"
            page = client.get(place).json()["text"]
            assert page[citation["start"] : citation["end"]] == citation["quote"]


def test_the_models_words_are_streamed(talking: Service) -> None:
    """The finding comes first, then sources, more than one piece of the model's words, and the end."""
    with talking.client() as client:
        body = faulty(talking, client, "clogged_filter")
        events = read_events(client.post(DIAGNOSE, json=body, headers=STREAM).text)
    names = [name for name, _ in events]
    assert names[:2] == ["finding", "sources"]
    assert names[-2:] == ["citations", "done"]
    assert names.count("token") > 1
    assert (events[-1][1]["model"], events[-1][1]["degraded"]) == ("hdx-tiny", False)


def test_who_leaves_stops_the_engine(talking: Service) -> None:
    """The engine writes on while there is a reader, and stops when the reader has gone."""
    question = {"query": LONG_QUESTION, "max_results": 1}
    with talking.client() as client:
        with client.stream("POST", QUERY, json=question, headers=STREAM) as reply:
            assert any(line == "event: token" for line in reply.iter_lines())
            assert writes(talking)
        time.sleep(1)
        assert not writes(talking)


def test_a_killed_engine_costs_no_answer(talking: Service) -> None:
    """While it is dead the quotes answer alone; when Ray has started another, the model speaks again."""
    question = {"query": LONG_QUESTION, "max_results": 1}
    with talking.client() as client:
        engines(talking)[0].kill()
        alone = client.post(QUERY, json=question).raise_for_status().json()
        assert (alone["metadata"]["degraded"], alone["metadata"]["model"]) == (True, "extractive")
        assert alone["citations"]
        end = time.monotonic() + BACK_S
        while client.post(QUERY, json=question).raise_for_status().json()["metadata"]["model"] != "hdx-tiny":
            assert time.monotonic() < end
            time.sleep(2)
