"""Quotas over HTTP: who has which, what is told of them, and what they never touch."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi.testclient import TestClient
from limits import RateLimitItemPerHour
from starlette.types import Message

from configs.rates import Rate, Rates
from serve_app.api.app import create_app
from serve_app.api.limiter import KINDS, Limiter, arrival_of, network_of
from serve_app.api.schemas.limits import LimitsReply
from serve_app.shared import limits
from serve_app.shared.credentials import digest
from serve_app.store.protocols_rates import Counted
from serve_app.store.records import Principal
from tests.contract.calls import CHAT, DETECT, PREDICT, PREDICTION, UNKNOWN, WINDOW, LogIn, Replied, assert_problem
from tests.contract.stand_ins import API_KEY, ML_KEY, PASSWORD, Bench, make_bench

KEY = {"x-api-key": API_KEY}
JSON = {"content-type": "application/json"}
SYSTEMS, CHATTING = "/api/systems/", "/v1/chat/completions"
NARROW = Rates(
    detect=Rate(tenant=5),
    chat=Rate(tenant=6, account=2, key=3),
    management=Rate(tenant=100, address=4),
    login=Rate(address=6),
)
ITEM = re.compile(r'"([a-z-]+)";([a-z]+)=(\d+);([a-z]+)=(\d+)')


@pytest.fixture
def narrow(bench: Bench, tmp_path: Path) -> Iterator[TestClient]:
    """A client of an application with few requests for anybody."""
    tight = make_bench(tmp_path, rates=NARROW)
    tight.services.store.principals[digest("hdx_other")] = Principal(2, None, "line 4", "operator")  # type: ignore[attr-defined]
    with TestClient(create_app(tight.services)) as client:
        yield client


def told(reply: Replied, name: str) -> dict[str, tuple[int, int]]:
    """Return the numbers of a header of quotas, by policy, as RFC 9651 writes a list of strings with parameters."""
    wanted = {"ratelimit-policy": ("q", "w"), "ratelimit": ("r", "t")}[name]
    found = [ITEM.fullmatch(item) for item in reply.headers[name].split(", ")]
    assert all(item is not None and (item[2], item[4]) == wanted for item in found)
    return {item[1]: (int(item[3]), int(item[5])) for item in found if item}


def chat(client: TestClient, **headers: str) -> Replied:
    return client.post(CHATTING, json=CHAT, headers=headers)


@pytest.mark.parametrize(("path", "body", "kind"), [(DETECT, WINDOW, "detect"), (CHATTING, CHAT, "chat")])
def test_each_answer_tells_what_is_left(client: TestClient, path: str, body: Any, kind: str) -> None:
    """By the fast path and by FastAPI: the quotas that the request counts against, and one less with each."""
    first, second = (client.post(path, json=body, headers=KEY) for _ in range(2))
    rate = getattr(Rates(), kind)
    policies = {f"tenant-{kind}": (rate.tenant, 60), f"key-{kind}": (rate.key, 60)}
    assert told(first, "ratelimit-policy") == policies
    left, later = told(first, "ratelimit"), told(second, "ratelimit")
    assert {name: remaining for name, (remaining, _) in left.items()} == {n: q - 1 for n, (q, _) in policies.items()}
    assert all(later[name][0] in (left[name][0] - 1, policies[name][0] - 1) for name in left)
    assert all(0 < reset <= 60 for _, reset in left.values())


def test_what_is_over_a_quota_is_refused_and_says_when(narrow: TestClient) -> None:
    """429 with the wait, the quota that refused, and what is left of all of them; other kinds of requests go on."""
    assert [chat(narrow, **KEY).status_code for _ in range(4)] == [200, 200, 200, 429]
    reply = chat(narrow, **KEY)
    problem = assert_problem(reply, 429, "quota-exceeded")
    assert (problem["field"], problem["rule"]) == ("key-chat", "at most 3 requests a minute")
    assert 0 < int(reply.headers["retry-after"]) <= 120
    assert {name: left for name, (left, _) in told(reply, "ratelimit").items()} == {"tenant-chat": 3, "key-chat": 0}
    assert narrow.post(DETECT, json=WINDOW, headers=KEY).status_code == 200


def test_accounts_and_keys_have_their_own_and_share_the_tenants(narrow: TestClient) -> None:
    """An account that has had its quota leaves those of others; all together have no more than the tenant's."""
    tokens = []
    for name in ("operator", "engineer"):
        reply = narrow.post("/api/auth/login/", json={"username": name, "password": PASSWORD})
        tokens.append({"authorization": f"Bearer {reply.json()['access']}"})
    outcomes = [chat(narrow, **headers).status_code for headers in (tokens[0], tokens[1], KEY) for _ in range(3)]
    assert outcomes == [200, 200, 429, 200, 200, 429, 200, 200, 429]  # the key has had two of its three
    assert assert_problem(chat(narrow, **KEY), 429, "quota-exceeded")["field"] == "tenant-chat"
    assert chat(narrow, **{"x-api-key": "hdx_other"}).status_code == 200  # of another tenant, and of the same name


def test_a_request_counts_once(client: TestClient) -> None:
    """A body that the fast path leaves to FastAPI is one request, refused or not."""
    wrong = client.post(DETECT, json={"system_id": "one"}, headers=KEY)
    assert wrong.status_code == 422
    left = told(client.post(DETECT, json=WINDOW, headers=KEY), "ratelimit")["tenant-detect"][0]
    assert left in (Rates().detect.tenant - 2, Rates().detect.tenant - 1)  # the second where a minute has just begun
    assert told(wrong, "ratelimit")["tenant-detect"][0] == Rates().detect.tenant - 1


def test_what_is_sent_again_under_a_key_counts_again(narrow: TestClient) -> None:
    """An answer that is given again costs a look into the store: once each, and beyond the quota none."""
    sent = KEY | {"idempotency-key": "a"}
    first, *again = (narrow.post(CHATTING, json=CHAT, headers=sent) for _ in range(4))
    assert (first.status_code, told(first, "ratelimit")["key-chat"][0]) == (200, 2)
    assert [reply.status_code for reply in again] == [200, 200, 429]
    assert "idempotency-replayed" in again[1].headers


def test_what_is_over_is_not_read(narrow: TestClient) -> None:
    """A body beyond what strangers may send is refused by its headers, and is one request where it is taken."""
    narrow.post(DETECT, content=b" " * 20_000, headers=KEY | JSON)
    assert told(narrow.post(DETECT, json=WINDOW, headers=KEY), "ratelimit")["tenant-detect"][0] == 3
    for _ in range(3):
        assert narrow.post(DETECT, json=WINDOW, headers=KEY).status_code == 200

    async def body() -> Message:
        raise AssertionError

    app = cast(Any, narrow.app)
    length = (b"content-length", b"20000"), (b"content-type", b"application/json"), (b"x-api-key", API_KEY.encode())
    scope = {"type": "http", "method": "POST", "path": DETECT, "query_string": b"", "headers": [*length]}
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, body, send))
    assert sent[0]["status"] == 429


def test_strangers_use_up_nobodys_quota(narrow: TestClient) -> None:
    """Requests without a credential that holds count against no tenant, whatever they claim."""
    for number in range(10):
        assert narrow.post(DETECT, json=WINDOW, headers={"x-api-key": f"hdx_{number}"}).status_code == 401
    assert [narrow.post(DETECT, json=WINDOW, headers=KEY).status_code for _ in range(5)] == [200] * 5


def test_an_address_may_have_a_quota(narrow: TestClient) -> None:
    """Where the settings give one, whoever sends from there counts, before any credential is looked at."""
    outcomes = [narrow.get(SYSTEMS, headers=headers).status_code for headers in (KEY, {}, KEY, {}, KEY, {})]
    assert outcomes == [200, 401, 200, 401, 429, 429]
    assert narrow.post(DETECT, json=WINDOW, headers=KEY).status_code == 200


def test_a_flood_of_log_ins_ends_at_the_door(narrow: TestClient) -> None:
    """Beyond the address's quota nothing of a log-in is read; a device that has logged in before comes in still."""
    right = {"username": "operator", "password": PASSWORD}
    device = narrow.post("/api/auth/login/", json=right).cookies["hdx_device"]
    narrow.cookies.clear()
    outcomes = [narrow.post("/api/auth/login/", content=b"{", headers=JSON).status_code for _ in range(8)]
    assert outcomes == [400] * 5 + [429] * 3
    assert (
        assert_problem(narrow.post("/api/auth/login/", json=right), 429, "quota-exceeded")["field"] == "address-login"
    )
    for cookie, status in (("forged", 429), (device, 200)):
        headers = {"cookie": f"hdx_device={cookie}"}
        assert narrow.post("/api/auth/login/", json=right, headers=headers).status_code == status
    assert narrow.get("/health/live").status_code == 200


def test_quotas_are_off_by_a_setting(bench: Bench, tmp_path: Path) -> None:
    """Then nothing is counted, refused or told."""
    off = make_bench(tmp_path, rates=NARROW.model_copy(update={"on": False}))
    with TestClient(create_app(off.services)) as client:
        replies = [chat(client, **KEY) for _ in range(10)]
        assert {reply.status_code for reply in replies} == {200}
        assert not {"ratelimit", "ratelimit-policy"} & set(replies[-1].headers)
        assert client.get("/api/limits/", headers=KEY).json()["quotas"] == []
    assert not off.store.rates.counts


@pytest.mark.parametrize("on", [True, False])
async def test_what_is_past_is_forgotten_whatever_is_counted(bench: Bench, on: bool) -> None:
    """Log-ins that fail are counted where quotas are off, too, and their moments are not kept for ever."""
    bench.store.rates.counts["tenant:1:chat", 0] = 1
    await Limiter(Rates(on=on), bench.store.rates, lambda _: False).quotas.settle()
    assert not bench.store.rates.counts


def test_a_caller_reads_its_quotas(narrow: TestClient) -> None:
    """All that its requests count against, the tenant's and its own, with what is used; no other's."""
    chat(narrow, **KEY)
    reply = narrow.get("/api/limits/", headers=KEY)
    found = LimitsReply.model_validate(reply.json())
    quotas = {quota.policy: quota for quota in found.quotas}
    assert (found.window_s, quotas["key-chat"].limit) == (60, 3)
    assert quotas["tenant-chat"].used in (0, 1)  # the first where a minute has just begun
    assert quotas["tenant-chat"].used + quotas["tenant-chat"].remaining == 6
    assert {quota.of for quota in found.quotas} == {"tenant", "key"}
    assert {quota.requests for quota in found.quotas} <= set(KINDS)
    assert_problem(narrow.get("/api/limits/"), 401, "unauthenticated")


async def test_who_hangs_up_while_counts_settle_ends_no_settlement(bench: Bench, tmp_path: Path) -> None:
    """`GET /api/limits/` settles what all callers have counted: it goes on to its end without the one who asked."""
    tight = make_bench(tmp_path, rates=NARROW)
    arrived, go_on, settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
    real = tight.store.rates.settle

    async def slow(counts: Mapping[Counted, int]) -> Mapping[Counted, int]:
        arrived.set()
        await go_on.wait()
        found = await real(counts)
        settled.set()
        return found

    tight.store.rates.settle = slow  # type: ignore[method-assign]
    transport = httpx.ASGITransport(create_app(tight.services))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=KEY) as client:
        asking = asyncio.create_task(client.get("/api/limits/"))
        await arrived.wait()
        asking.cancel()
        go_on.set()
        await asyncio.gather(asking, return_exceptions=True)
    assert settled.is_set()
    assert tight.store.rates.counts.total() > 0


def test_two_gateways_have_one_quota(bench: Bench, tmp_path: Path) -> None:
    """What one of them has counted the other knows within seconds, by the store that both have."""
    tight = make_bench(tmp_path, rates=NARROW)
    with ExitStack() as stack:
        one, other = (stack.enter_context(TestClient(create_app(tight.services))) for _ in range(2))
        assert [one.post(DETECT, json=WINDOW, headers=KEY).status_code for _ in range(5)] == [200] * 5
        one.get("/api/limits/", headers=KEY)
        other.get("/api/limits/", headers=KEY)
        assert_problem(other.post(DETECT, json=WINDOW, headers=KEY), 429, "quota-exceeded")


def test_counts_outlive_a_gateway(bench: Bench, tmp_path: Path) -> None:
    """One that stops settles what it has counted, and whoever follows it goes on from there."""
    tight = make_bench(tmp_path, rates=NARROW)
    with TestClient(create_app(tight.services)) as client:
        for _ in range(5):
            client.post(DETECT, json=WINDOW, headers=KEY)
    with TestClient(create_app(tight.services)) as client:
        client.get("/api/limits/", headers=KEY)
        assert_problem(client.post(DETECT, json=WINDOW, headers=KEY), 429, "quota-exceeded")


def test_the_quickstart_and_load_tests_meet_no_limit() -> None:
    """Whatever four gateways answer of one key, at 1,499 requests a second each, is allowed as it is shipped."""
    for rate in (Rates().detect, Rates().batch, Rates().readings):
        assert min(rate.tenant, rate.key, rate.account) > 60 * 4 * 1_499
        assert rate.address == 0


def test_services_have_no_quotas(narrow: TestClient) -> None:
    """The service-to-service face is no tenant's."""
    headers = {"x-internal-api-key": ML_KEY}
    replies = [narrow.post(PREDICT, json=PREDICTION, headers=headers) for _ in range(10)]
    assert {reply.status_code for reply in replies} == {200}
    assert "ratelimit" not in replies[-1].headers


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", DETECT, "detect"),
        ("POST", "/api/diagnostics/diagnose/", "detect"),
        ("POST", DETECT + "batch/", "batch"),
        ("POST", f"/api/diagnostics/{UNKNOWN}/replay/", "batch"),
        ("GET", f"/api/diagnostics/{UNKNOWN}/", "management"),
        ("POST", "/api/systems/1/readings/", "readings"),
        ("GET", "/api/systems/1/readings/", "management"),
        ("POST", "/api/systems/1/baseline/file/", "batch"),
        ("GET", "/api/systems/1/events/", "management"),
        ("GET", "/api/jobs/", "batch"),
        ("POST", "/api/rag/query/", "chat"),
        ("POST", CHATTING, "chat"),
        ("POST", "/api/rag/documents/", "documents"),
        ("POST", "/api/auth/refresh/", "login"),
        ("GET", "/api/limits/", "management"),
        ("POST", PREDICT, "detect"),
        ("GET", "/health/", None),
        ("GET", "/metrics", None),
        ("GET", "/openapi.json", None),
    ],
)
def test_kinds_of_requests(method: str, path: str, kind: str | None) -> None:
    """Each request is of one kind, and what watches the service of none."""
    arrival = arrival_of(method, path, "application/json")
    assert (arrival and arrival.kind) == kind


def test_a_file_of_readings_is_a_batch() -> None:
    """What takes a process to read comes after what a machine sends."""
    arrival = arrival_of("POST", "/api/systems/1/readings/", "text/csv")
    assert arrival is not None
    assert arrival.kind == "batch"


def test_addresses_of_one_site_are_one() -> None:
    """Of IPv6 a site has 2^64 of them; of IPv4 each is one; what is no address stays what it is."""
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1")
    assert network_of("testclient") == "testclient"


def test_a_lost_store_stops_nobody(bench: Bench, headers: LogIn, client: TestClient) -> None:
    """While the counts cannot be shared each gateway counts for itself, and answers."""
    bench.store.rates.failure = ConnectionError("host=10.0.0.7 password=hunter2")
    reply = client.get("/api/limits/", headers=KEY)
    assert reply.status_code == 200
    assert client.get(SYSTEMS, headers=headers("viewer")).status_code == 200
    asyncio.run(client.app.state.limiter.quotas.settle())  # type: ignore[attr-defined]


def test_strangers_do_not_fill_the_audit(client: TestClient, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept for ever: of attempts at names that nobody has it takes so many an hour; those at accounts stay."""
    monkeypatch.setattr(limits, "AT_UNKNOWN", RateLimitItemPerHour(2, 1, "UNKNOWN"))
    for name in ("nobody1", "nobody2", "nobody3", "viewer", "nobody4"):
        body = {"username": name, "password": "wrong"}
        assert_problem(client.post("/api/auth/login/", json=body), 401, "unauthenticated")
    failed = [(tenant_id, actor) for tenant_id, actor, action, _ in bench.store.audited if action == "login.failed"]
    assert failed == [(None, "unknown"), (None, "unknown"), (1, "viewer")]
