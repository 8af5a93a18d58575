"""The README's quickstart and its Russian twin, run block by block as a reader would."""

import json
import re
import shutil
import subprocess
import time
from typing import Any
from uuid import UUID

import pytest

from pipelines.knowledge.ingest.formats.pdf.recognition import engine
from tests.serve.service import ROOT, Service
from tests.unit.test_manuals import paper, scan_of

JOIN = "\nprintf '\\n<<<end of block>>>\\n'\n"


def blocks(document: str) -> list[str]:
    """Return the shell blocks of the quickstart: all of them, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    if document == "README.md":
        text = text[text.index("## Quickstart") : text.index("## Train on your recordings")]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def execute(service: Service, document: str) -> list[str]:
    """Run all blocks in one shell, so that a variable of one serves the next; return each block's output."""
    return run(service, JOIN.join(blocks(document))).split("<<<end of block>>>\n")


def run(service: Service, script: str) -> str:
    """Run a script against the service, and return what it prints."""
    script = script.replace("127.0.0.1:8000", service.base.removeprefix("http://"))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=service.folder,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def objects(text: str) -> list[Any]:
    """Return the JSON values in a text, one after the other."""
    decoder, values, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        values.append(value)
        rest = rest[end:].strip()
    return values


def check_health(text: str) -> None:
    whole, ml, rag = objects(text)
    assert whole["status"] == "healthy"
    assert abs(whole["timestamp"] - time.time()) < 3600
    assert whole["checks"] == {"database": "ok", "cache": "ok", "ml_service": "ok", "rag_service": "ok"}
    assert ml["status"] == "healthy"
    assert ml["models_loaded"] == ["catboost", "xgboost", "random_forest", "adaptive"]
    assert ml["cache_status"] == "connected"
    assert rag["status"] == "healthy"
    assert rag["service"] == "rag-service"
    assert rag["version"]


def check_detection(text: str) -> None:
    (answer,) = objects(text)
    assert answer["system_id"] == 1
    assert answer["prediction"]["is_anomaly"] is False
    assert answer["prediction"]["severity"] == "normal"
    assert 0 <= answer["prediction"]["anomaly_score"] < answer["threshold_used"]
    assert 0.5 <= answer["prediction"]["confidence"] <= 1
    assert answer["ensemble_score"] == answer["prediction"]["anomaly_score"]
    assert answer["total_processing_time_ms"] > 0
    assert [vote["ml_model"] for vote in answer["ml_predictions"]] == [
        "catboost", "xgboost", "random_forest", "adaptive",
    ]  # fmt: skip
    UUID(answer["trace_id"])


def check_answer(answer: dict[str, Any]) -> None:
    assert answer["response"]
    assert 1 <= len(answer["sources"]) <= 3
    for source in answer["sources"]:
        assert {"document_id", "title", "snippet", "score"} <= set(source)
    assert {"model", "processing_time_ms", "tokens_used"} <= set(answer["metadata"])
    assert answer["metadata"]["abstained"] is False
    assert answer["metadata"]["grounded"] is True


def check_own_manual(text: str) -> None:
    (answer,) = objects(text)
    check_answer(answer)
    assert re.search(r"\b(185|175)\b", answer["citations"][0]["quote"])


def check_diagnosis(text: str, asks: str) -> None:
    (answer,) = objects(text)
    assert answer["finding"]["prediction"]["is_anomaly"] is True
    assert answer["query"].startswith(asks)
    check_answer(answer["advice"])
    numbers = {citation["n"] for citation in answer["advice"]["citations"]}
    assert [step["priority"] for step in answer["advice"]["steps"]] == list(
        range(1, len(answer["advice"]["steps"]) + 1)
    )
    assert answer["advice"]["safety"]
    assert numbers >= {part["citation"] for part in [*answer["advice"]["steps"], *answer["advice"]["safety"]]}


def check_internal(text: str) -> None:
    refused, answer = objects(text)
    assert refused["status"] == 403
    assert 0 <= answer["ensemble_score"] <= 1
    assert set(answer["data_quality"]["missing_channels"]) == {"temperature", "flow", "vibration"}


@pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("jq") is None, reason="the quickstart needs curl and jq"
)
@pytest.mark.parametrize("document", ["README.md", "docs/ru/quickstart.md"])
def test_every_step_of_the_quickstart_holds(service: Service, document: str) -> None:
    """Each command of the document runs as written, and each answer has the shape and the values promised."""
    outputs = execute(service, document)
    keys, start, health, user, login, detect, ask, own, diagnose, outside, inside, metrics, logs, reload, doctor = (
        outputs
    )
    assert len(re.findall(r"^HDX_\w+=[0-9a-f]{64}$", keys, re.MULTILINE)) == 5
    assert "Gateway" in start
    check_health(health)
    assert "engineer" in user
    assert login == "\n"
    check_detection(detect)
    answers = objects(ask)
    for answer in answers:
        check_answer(answer)
    assert "pressure" in answers[0]["response"].lower()
    assert "давлени" in answers[-1]["response"].lower()
    check_own_manual(own)
    check_diagnosis(diagnose, "Как" if "/ru/" in document else "How")
    assert outside.strip() == "404"
    check_internal(inside)
    assert "ray_serve_" in metrics
    lines = [json.loads(line) for line in logs.strip().splitlines()]
    assert any(line["trace_id"] for line in lines)
    assert "deploy the graph" in reload
    assert "fail" not in doctor


@pytest.mark.skipif(
    engine() is None or shutil.which("curl") is None or shutil.which("jq") is None,
    reason="scans need Tesseract, and the README's commands curl and jq",
)
def test_a_scanned_manual_is_asked(service: Service) -> None:
    """The README's commands upload a scan, and give the answer with its page and how sure the machine was."""
    printed, made = paper(), paper()
    printed.put(20, 40, "The hoist HS-3 is filled with 18 litres of oil.")
    made.put(20, 20, "The rope of hoist HS-3 is 12 mm thick.")
    made.add_page()
    made.image(scan_of(printed), 0, 0, 210, 297)
    (service.folder / "scan.pdf").write_bytes(bytes(made.output()))
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Ask a scanned manual\n")[2]
    (block,) = re.findall(r"```sh\n(.*?)```", text.partition("\n## ")[0], re.DOTALL)
    with service.client() as client:
        token = client.headers["Authorization"].removeprefix("Bearer ")
    document, answer = objects(run(service, f"TOKEN={token}\n{block}"))
    assert document["state"] == "ready"
    sure = re.fullmatch(r"pages 2 were read by machine, with a confidence of ([01]\.\d\d)", document["reason"])
    assert sure is not None
    assert 0.5 < float(sure[1]) <= 1
    assert "18 litres" in answer["response"]
    cited = answer["cited"][0]
    assert (cited["page"], cited["document_id"].startswith("scan-")) == (2, True)
    assert cited["quote"] == "The hoist HS-3 is filled with 18 litres of oil."


def test_metrics_have_the_names_dashboards_read(service: Service) -> None:
    """All eight names of the former system come out of one scrape, next to Ray's own."""
    with service.client() as client:
        window = {"pressure": [100.5, 101.2, 99.8], "flow": [25.0, 24.9, 25.1]}
        for _ in range(3):  # the first may end an alarm, the last is found in the cache
            client.post("/api/diagnostics/anomaly/detect/", json={"system_id": 1, "sensor_data": window})
        client.post("/api/diagnostics/anomaly/detect/", json={"system_id": 1, "sensor_data": {"pressure": ["x"]}})
        client.post("/api/rag/query/", json={"query": "What does a noisy pump mean?"})
    names = (
        "ml_predictions_total", "ml_inference_duration_seconds_bucket", "ml_prediction_errors_total",
        "ml_ensemble_score_bucket", "ml_cache_hits_total", "ml_cache_misses_total", "rag_query_total",
        "rag_query_duration_seconds_bucket", "ray_serve_deployment_request_counter",
    )  # fmt: skip
    key = {"X-Internal-API-Key": service.secret("HDX_ML_INTERNAL_API_KEY")}
    missing: list[str] = list(names)
    end = time.monotonic() + 60
    while missing and time.monotonic() < end:
        with service.client() as client:
            page = client.get("/metrics", headers=key).raise_for_status().text
        missing = [name for name in names if not re.search(rf"^{name}", page, re.MULTILINE)]
        time.sleep(2)
    assert missing == []


def test_documents_hold_the_same_steps() -> None:
    """README and its Russian twin have the same blocks: the same commands in the same order."""
    first, second = blocks("README.md"), blocks("docs/ru/quickstart.md")
    assert [block.split()[0] for block in first] == [block.split()[0] for block in second]
