"""The contract as `/openapi.json` tells it."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.contract.calls import LogIn
from tests.contract.snapshot import SNAPSHOT, contract
from tests.contract.stand_ins import ML_KEY, RAG_KEY

OPEN = {
    "/health/",
    "/health/live",
    "/health/ready",
    "/internal/ml/health",
    "/internal/rag/health",
    "/api/auth/login/",
    "/api/auth/refresh/",
    "/api/auth/logout/",
    "/api/auth/oidc/login/",
    "/api/auth/oidc/callback/",
    "/api/auth/invitations/",
    "/.well-known/jwks.json",
}


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every operation."""
    return [(method, path, op) for path, item in contract()["paths"].items() for method, op in item.items()]


def test_the_contract_is_the_one_in_the_snapshot() -> None:
    """A change of the HTTP contract is made on purpose: run `make openapi` and review the difference."""
    assert contract() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_operation_says_who_may_call_it() -> None:
    """All but the open ones name a security scheme; the internal ones name theirs."""
    for _, path, operation in operations():
        schemes = {name for one in operation.get("security", []) for name in one}
        if path in OPEN:
            assert not schemes, path
        elif path == "/internal/mlflow/webhook":
            assert schemes == {"mlflowSignature"}, path
        elif path.startswith("/internal/") or path == "/metrics":
            assert schemes == {"internalKey"}, path
        else:
            assert schemes == {"accessToken", "apiKey"}, path


def test_every_post_of_a_caller_takes_an_idempotency_key() -> None:
    """All but those that make a caller known, whose answers are secrets; no other operation does."""
    for method, path, operation in operations():
        named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "header"}
        wanted = method == "post" and path.startswith(("/api/", "/v1/")) and not path.startswith("/api/auth/")
        assert ("Idempotency-Key" in named) == wanted, (method, path)
        assert not wanted or "409" in operation["responses"], path


def test_every_operation_is_described() -> None:
    """Summary, text and a tag that has a description of its own."""
    known = {tag["name"] for tag in contract()["tags"]}
    for _, path, operation in operations():
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= known, path


def test_all_errors_are_problems() -> None:
    """Whatever an operation may answer beside success is described as problem+json, health's 503 apart."""
    for _, path, operation in operations():
        for status, reply in operation["responses"].items():
            if int(status) >= 400 and not path.rstrip("/").startswith("/health") and not path.endswith("/health"):
                assert set(reply["content"]) == {"application/problem+json"}, (path, status)


@pytest.mark.parametrize("path", ["/health/", "/health/ready", "/internal/ml/health", "/internal/rag/health"])
def test_what_is_down_is_described(path: str) -> None:
    """A check's 503 has the same shape as its 200, and is in the contract."""
    replies = contract()["paths"][path]["get"]["responses"]
    assert set(replies) == {"200", "503"}
    assert replies["503"]["content"] == replies["200"]["content"]


@pytest.mark.parametrize("path", ["/api/diagnostics/anomaly/detect/", "/api/rag/query/", "/api/systems/"])
def test_the_examples_run(client: TestClient, headers: LogIn, path: str) -> None:
    """A reader of `/docs` presses the button and gets an answer."""
    schema = contract()
    body = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].rpartition("/")[2]
    example = schema["components"]["schemas"][name]["example"]
    assert client.post(path, json=example, headers=headers("admin")).status_code in {200, 201}


@pytest.mark.parametrize(
    ("path", "key"), [("/internal/ml/api/v1/predict", ML_KEY), ("/internal/rag/api/v1/query", RAG_KEY)]
)
def test_the_internal_examples_run(client: TestClient, path: str, key: str) -> None:
    """The same on the service-to-service face."""
    schema = contract()
    body = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    example = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]["example"]
    assert client.post(path, json=example, headers={"x-internal-api-key": key}).status_code == 200


def test_the_interactive_page_is_there(client: TestClient) -> None:
    """`/docs` is a page over `/openapi.json`."""
    reply = client.get("/docs")
    assert reply.status_code == 200
    assert "/openapi.json" in reply.text
