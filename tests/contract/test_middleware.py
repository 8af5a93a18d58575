"""What holds on every path, and what health says."""

import json
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.errors import NoQuorum
from serve_app.api import health
from serve_app.api.app import create_app
from serve_app.api.middleware.ray_proxy import middlewares
from serve_app.api.schemas.health import HealthReply, MlHealthReply, RagHealthReply
from tests.contract.calls import (
    DETECT,
    INTERNAL,
    PREDICT,
    PREDICTION,
    WINDOW,
    LogIn,
    assert_problem,
)
from tests.contract.stand_ins import PASSWORD, Bench


class TestMiddleware:
    """What holds on every path."""

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/health"),
            ("GET", "/health/live/"),
            ("GET", "/health/ready/"),
            ("GET", "/internal/ml/health/"),
            ("GET", "/api/systems"),
            ("GET", "/api/systems/1"),
            ("GET", "/api/models"),
            ("GET", "/metrics/"),
            ("POST", DETECT[:-1]),
            ("POST", "/api/auth/login"),
            ("POST", PREDICT + "/"),
        ],
    )
    def test_both_slash_forms_answer(self, client: TestClient, headers: LogIn, method: str, path: str) -> None:
        """The other form of a path is the same route, without a redirect that drops the body."""
        credentials = {"username": "operator", "password": PASSWORD}
        body = credentials if "auth" in path else PREDICTION if "internal" in path else WINDOW
        reply = client.request(method, path, json=body if method == "POST" else None, headers={**headers(), **INTERNAL})
        assert reply.status_code == 200

    @pytest.mark.parametrize("declared", [b"100000", None])
    @pytest.mark.parametrize("path", ["/api/rag/documents/", "/v1/chat/completions", "/api/systems/1/readings/"])
    async def test_a_strangers_body_is_not_read(self, bench: Bench, path: str, declared: bytes | None) -> None:
        """Who shows no credential is refused on headers, before a body that may be long has come."""
        length = [] if declared is None else [(b"content-length", declared)]
        sent: list[Message] = []

        async def receive() -> Message:
            raise AssertionError("the body was asked for")

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"x-api-key", b"hdx_nobody"), (b"content-type", b"application/json"), *length]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        await create_app(bench.services)(scope, receive, send)
        assert sent[0]["status"] == 401

    def test_the_request_id_is_ours(self, client: TestClient) -> None:
        """Every answer has one fresh id; a caller's own is not taken over."""
        wanted = str(uuid4())
        replies = [client.get("/health/live", headers={"x-request-id": wanted}) for _ in range(2)]
        ids = [reply.headers["x-request-id"] for reply in replies]
        assert len({*ids, wanted}) == 3
        assert all(str(UUID(one)) == one for one in ids)

    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nowhere", 404, "not-found"),
            ("GET", "/", 404, "not-found"),
            ("GET", "/api/nowhere/../../etc/passwd", 404, "not-found"),
            ("DELETE", DETECT, 405, "method-not-allowed"),
            ("GET", "/api/auth/login/", 405, "method-not-allowed"),
            ("GET", "/api/diagnostics/diagnose/", 405, "method-not-allowed"),
            ("GET", "/api/diagnostics/no-uuid/", 404, "not-found"),
        ],
    )
    def test_no_route_is_a_problem_too(
        self, client: TestClient, method: str, path: str, status: int, code: str
    ) -> None:
        """404 and 405 look like every other error."""
        assert_problem(client.request(method, path), status, code)

    def test_a_bug_is_an_internal_error_without_its_text(
        self, client: TestClient, headers: LogIn, bench: Bench
    ) -> None:
        """The caller gets the trace id; the log gets the exception."""
        bench.diagnoser.failure = RuntimeError("password=hunter2 at /srv/secret.py")
        reply = client.post(DETECT, json=WINDOW, headers=headers())
        problem = assert_problem(reply, 500, "internal")
        assert "hunter2" not in reply.text
        lines = (bench.services.settings.home / "logs" / "hdx.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines if problem["trace_id"] in line]
        assert {event["event"] for event in events} == {"request.failed", "request"}
        assert events[0]["error"]["kind"] == "RuntimeError"
        assert bench.store.recorded == []

    def test_an_error_that_crossed_the_graph_is_its_cause(
        self, client: TestClient, headers: LogIn, bench: Bench
    ) -> None:
        """What a remote call wraps around our own error is taken off."""

        class RemoteError(Exception):
            def __init__(self, cause: Exception) -> None:
                super().__init__("Traceback (most recent call last): /srv/worker.py")
                self.cause = cause

        bench.diagnoser.failure = RemoteError(RemoteError(NoQuorum("ensemble", "1 of 4 detectors voted")))
        reply = client.post(DETECT, json=WINDOW, headers=headers())
        assert_problem(reply, 503, "no-quorum")
        assert "worker.py" not in reply.text

    def test_each_request_is_one_line_of_json(self, client: TestClient, headers: LogIn, bench: Bench) -> None:
        """Time, event, trace id, path, status and duration; neither token nor body nor password."""
        token = headers()
        reply = client.post(DETECT, json=WINDOW, headers=token)
        text = (bench.services.settings.home / "logs" / "hdx.jsonl").read_text()
        [line] = [json.loads(one) for one in text.splitlines() if reply.headers["x-request-id"] in one]
        assert {"time", "level", "event", "trace_id", "path", "status", "milliseconds", "method"} <= set(line)
        assert (line["path"], line["status"], line["caller"], line["tenant_id"]) == (DETECT, 200, "operator", 1)
        assert PASSWORD not in text
        assert token["authorization"].split()[1] not in text
        assert "101.2" not in text

    def test_every_answer_has_the_security_headers(self, client: TestClient) -> None:
        """On answers and on problems alike."""
        for path in ("/health/", "/nowhere"):
            sent = client.get(path).headers
            assert sent["x-content-type-options"] == "nosniff"
            assert sent["cache-control"] == "no-store"
            assert "default-src 'none'" in sent["content-security-policy"]


class TestHealth:
    """The truth about the parts."""

    def test_all_is_well(self, client: TestClient) -> None:
        """The shape of the contract; no `redis` key without Redis."""
        reply = client.get("/health/")
        HealthReply.model_validate(reply.json())
        assert reply.json()["status"] == "healthy"
        assert reply.json()["checks"] == {"database": "ok", "cache": "ok", "ml_service": "ok", "rag_service": "ok"}

    def test_the_detectors_are_named(self, client: TestClient) -> None:
        """The four public names, in the order of the contract."""
        answer = client.get("/internal/ml/health").json()
        MlHealthReply.model_validate(answer)
        assert answer["status"] == "healthy"
        assert answer["models_loaded"] == ["catboost", "xgboost", "random_forest", "adaptive"]
        assert answer["cache_status"] == "connected"

    @pytest.mark.parametrize("family", ["generic", "rig"])
    def test_a_lost_artefact_shows(self, client: TestClient, bench: Bench, family: str) -> None:
        """A detector that lost its version of any family disappears from the list, and the status is degraded."""
        lost = bench.diagnoser.statuses[0]._replace(family=family, scored_probe=False, reason="artefact is missing")
        kept = bench.diagnoser.statuses if family == "rig" else bench.diagnoser.statuses[1:]
        bench.diagnoser.statuses = [*kept, lost]
        answer = client.get("/internal/ml/health").json()
        assert lost.detector not in answer["models_loaded"]
        assert answer["status"] == "degraded"
        whole = client.get("/health/")
        assert (whole.status_code, whole.json()["status"]) == (200, "degraded")
        assert whole.json()["checks"]["ml_service"] == "degraded"

    def test_no_detector_is_unhealthy(self, client: TestClient, bench: Bench) -> None:
        """Without any usable detector the service cannot answer: 503, and not ready."""
        bench.diagnoser.statuses = []
        assert client.get("/health/").status_code == 503
        assert client.get("/health/ready").json()["checks"]["ml_service"] == "down"
        assert client.get("/internal/ml/health").json()["models_loaded"] == []

    def test_a_lost_database_is_unhealthy_and_says_no_more(self, client: TestClient, bench: Bench) -> None:
        """503 with the part named; the process is still alive; nothing of the exception shows."""
        bench.store.up = False
        reply = client.get("/health/")
        assert (reply.status_code, reply.json()["status"]) == (503, "unhealthy")
        assert reply.json()["checks"]["database"] == "down"
        assert "hunter2" not in reply.text
        assert client.get("/health/live").json() == {"status": "alive"}

    def test_ready_waits_for_the_assistant_once(
        self, client: TestClient, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A replica that starts is ready when every kind of request can be taken; `/health/` says what is missing."""
        monkeypatch.setattr(health, "FRESH_S", 0.0)
        bench.assistant.state = "down"
        reply, whole = client.get("/health/ready"), client.get("/health/")
        assert (reply.status_code, reply.json()["checks"]["rag_service"]) == (503, "down")
        assert (whole.status_code, whole.json()["status"]) == (200, "degraded")
        bench.assistant.state = "degraded"
        assert client.get("/health/ready").status_code == 200
        bench.assistant.state = "down"
        assert client.get("/health/ready").status_code == 200
        bench.store.up = False
        assert client.get("/health/ready").status_code == 503

    def test_ready_does_not_wait_for_ever(
        self, client: TestClient, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An assistant that does not come up is an outage, and keeps no window waiting."""
        monkeypatch.setattr(health, "FRESH_S", 0.0)
        bench.assistant.state = "down"
        assert client.get("/health/ready").status_code == 503
        monkeypatch.setattr(health, "STARTING_S", 0.0)
        assert client.get("/health/ready").status_code == 200

    def test_a_lost_assistant_is_degraded(
        self, client: TestClient, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Detect still answers, so the service stays in."""
        monkeypatch.setattr(health, "FRESH_S", 0.0)
        assert client.get("/health/ready").status_code == 200
        bench.assistant.state = "down"
        reply = client.get("/health/ready")
        assert (reply.status_code, reply.json()["status"]) == (200, "degraded")
        rag = client.get("/internal/rag/health")
        RagHealthReply.model_validate(rag.json())
        assert (rag.status_code, rag.json()["status"]) == (503, "unhealthy")


class TestRayProxy:
    """The layer around Ray's own HTTP layer, with that layer's habits written out."""

    @staticmethod
    def layered(app: ASGIApp) -> TestClient:
        """The application inside a layer that appends the request's own id, inside ours."""

        async def ray(scope: Scope, receive: Receive, send: Send) -> None:
            given = Headers(scope=scope)["x-request-id"]

            async def reply(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-request-id", given.encode())]
                await send(message)

            await app(scope, receive, reply)

        for middleware in middlewares():
            wrapped = middleware.cls(ray, *middleware.args, **middleware.kwargs)
        return TestClient(wrapped)

    def test_an_answer_has_one_request_id_and_it_is_ours(self, bench: Bench) -> None:
        """The id that Ray appends is dropped; a caller's own reaches neither Ray nor the answer."""
        client = self.layered(create_app(bench.services))
        wanted = str(uuid4())
        reply = client.get("/nowhere", headers={"x-request-id": wanted})
        assert reply.headers.get_list("x-request-id") == [reply.json()["trace_id"]]
        assert wanted not in reply.text

    @pytest.mark.parametrize(
        ("status", "code"), [(503, "unavailable"), (408, "timeout"), (500, "internal"), (429, "overloaded")]
    )
    def test_what_ray_refuses_itself_is_a_problem(self, status: int, code: str) -> None:
        """Overload, time-out and failure in plain text become problems; the time to wait is kept."""

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            headers = {"retry-after": "2"} if status == 503 else {}
            await PlainTextResponse("Request dropped at /srv/replica.py", status, headers)(scope, receive, send)

        reply = self.layered(refuse).post(DETECT, json=WINDOW)
        assert_problem(reply, status, code)
        assert "replica.py" not in reply.text
        assert reply.headers.get("retry-after") == ("2" if status == 503 else None)

    def test_what_load_balancers_ask_ray_passes_unchanged(self) -> None:
        """`/-/healthz` is Ray's own, also when it says no."""

        async def draining(scope: Scope, receive: Receive, send: Send) -> None:
            await PlainTextResponse("draining", 503)(scope, receive, send)

        reply = self.layered(draining).get("/-/healthz")
        assert (reply.status_code, reply.text) == (503, "draining")
