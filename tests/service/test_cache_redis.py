"""The shared answer cache on a real Redis server, by itself and behind the application."""

import os
import shutil
import signal
import socket as socketlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from configs.settings import Cache, Redis, Settings
from pipelines.diagnosis.records import Judgement
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import Normal
from serve_app.api.app import create_app
from serve_app.shared import cache as cache_module
from serve_app.shared.cache import PREFIX, REDIS_TIMEOUT_S, AnswerCache, RedisCache
from tests.contract.calls import DETECT, INTERNAL, WINDOW
from tests.contract.stand_ins import API_KEY, Bench, make_bench

SERVER = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(
    SERVER is None, reason="no redis-server on this machine; Debian's package is redis-server"
)
JUDGEMENT = Judgement('{"notes": ["давление"]}'.encode(), True, 0.75, {"catboost": "3"}, None, bytes(64), True)


def listens(path: Path) -> bool:
    """Tell whether a server takes connections: its file is there a moment before."""
    with socketlib.socket(socketlib.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextmanager
def redis_server(socket: Path, *options: str) -> Iterator[int]:
    """Start a server of this test's own, in memory only; yields its process id."""
    assert SERVER is not None
    command = [SERVER, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not listens(socket):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer limits than a service has: the machine of the tests does much else."""
    monkeypatch.setattr(cache_module, "REDIS_TIMEOUT_S", 5.0)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    """Where a server listens: no other process can have taken it."""
    return tmp_path / "redis.sock"


def cache_at(socket: Path) -> AnswerCache:
    url = SecretStr(f"unix://{socket}?db=0")
    return AnswerCache.open(Settings(redis=Redis(url=url), cache=Cache(ttl_s=60)))


async def test_replicas_share_judgements(socket: Path) -> None:
    """What one replica puts, another gets, whole; both say they are connected."""
    with redis_server(socket):
        one, other = cache_at(socket), cache_at(socket)
        assert isinstance(one, RedisCache)
        assert await one.ping()
        assert await other.ping()
        await one.put({"k": JUDGEMENT._replace(cache_hit=False)})
        assert await other.get(["absent", "k"]) == [None, JUDGEMENT]
        await one.close()
        await other.close()


async def test_redis_forgets_after_the_lifetime(socket: Path) -> None:
    """A value carries its lifetime in Redis itself; without one nothing is kept."""
    with redis_server(socket):
        cache = RedisCache(f"unix://{socket}", 60)
        await cache.put({"k": JUDGEMENT})
        client = cache.client
        [key] = await client.keys(PREFIX + "*")
        assert 50_000 < await client.pttl(key) <= 60_000
        await cache.close()
        for ttl_s, kept in ((0.9, True), (0.0, False)):
            brief = RedisCache(f"unix://{socket}", ttl_s)
            await brief.put({f"{ttl_s}": JUDGEMENT})
            assert ((await brief.get([f"{ttl_s}"]))[0] is not None) is kept
            await brief.close()


async def test_foreign_bytes_count_as_absent(socket: Path) -> None:
    """What others wrote under our keys is a miss, beside a value of ours."""
    with redis_server(socket):
        cache = RedisCache(f"unix://{socket}", 60)
        await cache.put({"ours": JUDGEMENT})
        ours = await cache.client.get(PREFIX + "ours")
        assert isinstance(ours, bytes)
        foreign = {"pickle": b"\x80\x04N.", "json": b"{}", "cut": ours[:-1], "empty": b""}
        for key, value in foreign.items():
            await cache.client.set(PREFIX + key, value)
        assert await cache.get([*foreign, "ours"]) == [None] * len(foreign) + [JUDGEMENT]
        await cache.close()


async def test_an_outage_is_no_error_and_ends_by_itself(socket: Path) -> None:
    """Without Redis there is no cache and nothing raises; once it is back, a ping brings the cache back."""
    cache = cache_at(socket)
    assert await cache.get(["k"]) == [None]
    await cache.put({"k": JUDGEMENT})
    assert not await cache.ping()
    with redis_server(socket):
        assert await cache.ping()
        await cache.put({"k": JUDGEMENT})
        assert await cache.get(["k"]) == [JUDGEMENT]
    assert await cache.get(["k"]) == [None]
    assert not await cache.ping()
    await cache.close()


async def test_a_silent_redis_holds_nobody_up_twice(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and says nothing costs one time-out; then it is left alone for a while."""
    monkeypatch.setattr(cache_module, "REDIS_TIMEOUT_S", REDIS_TIMEOUT_S)
    with redis_server(socket) as pid:
        cache = cache_at(socket)
        await cache.put({"k": JUDGEMENT})
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert await cache.get(["k"]) == [None]
        assert time.monotonic() - begun < 2 * REDIS_TIMEOUT_S + 0.5
        begun = time.monotonic()
        assert [await cache.get(["k"]) for _ in range(20)] == [[None]] * 20
        assert time.monotonic() - begun < REDIS_TIMEOUT_S
        await cache.close()


async def test_a_server_that_was_away_is_asked_again(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its rest, and not before; one answer ends the rest of an outage."""
    cache = cache_at(socket)
    now = time.monotonic()
    monkeypatch.setattr(cache_module, "REDIS_REST_S", 600.0)
    with redis_server(socket):
        pass
    assert await cache.get(["k"]) == [None]
    with redis_server(socket):
        await cache.put({"k": JUDGEMENT})
        assert await cache.get(["k"]) == [None]
        monkeypatch.setattr(time, "monotonic", lambda: now + 599)
        await cache.put({"k": JUDGEMENT})
        assert await cache.get(["k"]) == [None]
        monkeypatch.setattr(time, "monotonic", lambda: now + 700)
        await cache.put({"k": JUDGEMENT})
        assert await cache.get(["k"]) == [JUDGEMENT]
        monkeypatch.setattr(time, "monotonic", lambda: now)
        assert await cache.get([]) == []
        assert await cache.get(["k"]) == [JUDGEMENT]
    await cache.close()


async def test_a_lifetime_of_less_than_a_millisecond_is_one(socket: Path) -> None:
    """Redis takes whole milliseconds and none of zero."""
    with redis_server(socket):
        cache = RedisCache(f"unix://{socket}", 1e-4)
        await cache.put({"k": JUDGEMENT})
        await cache.put({})
        assert await cache.get(["k"]) in ([JUDGEMENT], [None])
        assert not cache._rests
        await cache.close()


async def test_a_redis_that_keeps_nothing_is_down(socket: Path) -> None:
    """A full server answers a ping and refuses every value: health must not call that ok."""
    with redis_server(socket, "--maxmemory", "1", "--maxmemory-policy", "noeviction"):
        cache = cache_at(socket)
        assert isinstance(cache, RedisCache)
        assert await cache.client.ping()
        assert not await cache.ping()
        await cache.close()


def behind(socket: Path, home: Path) -> Bench:
    """The application's parts with a cache in Redis."""
    bench = make_bench(home)
    services = bench.services
    settings = services.settings.model_copy(update={"redis": Redis(url=SecretStr(f"unix://{socket}"))})
    bench.services = replace(services, settings=settings, cache=AnswerCache.open(settings))
    return bench


def test_a_repeated_window_is_a_hit_with_its_first_baseline(socket: Path, tmp_path: Path) -> None:
    """The second answer says so, and its evidence is the baseline that the first one followed from."""
    bench = behind(socket, tmp_path)
    key = {"x-api-key": API_KEY}
    first, later = (Normal.of(Baseline(np.full(2, n), np.ones(2), np.ones(2))) for n in (3.0, 4.0))
    with redis_server(socket), TestClient(create_app(bench.services)) as client:
        bench.store.normals[1] = first
        assert client.post(DETECT, json=WINDOW, headers=key).json()["cache_hit"] is False
        bench.store.normals[1] = later
        assert client.post(DETECT, json=WINDOW, headers=key).json()["cache_hit"] is True
        assert [stored.baseline for _, stored, _ in bench.store.recorded] == [first.to_bytes()] * 2
        assert [learned is None for *_, learned in bench.store.recorded] == [False, True]
        assert client.get("/health/").json()["checks"]["redis"] == "ok"
        assert client.get("/internal/ml/health", headers=INTERNAL).json()["cache_status"] == "connected"


def test_answers_go_on_while_redis_dies(socket: Path, tmp_path: Path) -> None:
    """A server killed between two requests costs no answer; health says that the cache is down."""
    bench = behind(socket, tmp_path)
    key = {"x-api-key": API_KEY}
    with TestClient(create_app(bench.services)) as client:
        with redis_server(socket) as pid:
            assert client.post(DETECT, json=WINDOW, headers=key).status_code == 200
            os.kill(pid, signal.SIGKILL)
            after = client.post(DETECT, json=WINDOW, headers=key)
            assert (after.status_code, after.json()["cache_hit"]) == (200, False)
        health = client.get("/health/")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert health.json()["checks"]["redis"] == "down"
