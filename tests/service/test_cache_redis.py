"""The shared answer cache on a real Redis server."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from configs.settings import Cache, Redis, Settings
from serve_app.shared.cache import AnswerCache, RedisCache

SERVER = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(SERVER is None, reason="no redis-server on this machine; install the redis package")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def redis_server(folder: Path, port: int) -> Iterator[None]:
    """A server of this test's own, in memory only."""
    assert SERVER is not None
    command = [SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def settings_at(port: int, ttl_s: float = 60) -> Settings:
    url = SecretStr(f"redis://127.0.0.1:{port}/0")
    return Settings(redis=Redis(url=url), cache=Cache(ttl_s=ttl_s))


async def test_replicas_share_values(tmp_path: Path) -> None:
    """What one replica puts, another gets; both say they are connected."""
    port = free_port()
    with redis_server(tmp_path, port):
        one, other = AnswerCache.open(settings_at(port)), AnswerCache.open(settings_at(port))
        assert isinstance(one, RedisCache)
        assert await one.ping()
        await one.put("k", '{"notes": ["давление"]}'.encode())
        assert await other.get("k") == '{"notes": ["давление"]}'.encode()
        assert await other.get("absent") is None
        await one.close()
        await other.close()


async def test_redis_forgets_after_the_lifetime(tmp_path: Path) -> None:
    """A value carries its lifetime in Redis itself."""
    port = free_port()
    with redis_server(tmp_path, port):
        cache = RedisCache(f"redis://127.0.0.1:{port}/0", 60)
        await cache.put("k", b'{"n": 1}')
        client = cache._connection()
        [key] = await client.keys("*")
        assert 0 < await client.pttl(key) <= 60_000
        await cache.close()


async def test_a_value_that_is_no_json_counts_as_absent(tmp_path: Path) -> None:
    """Foreign bytes under our key are a miss."""
    port = free_port()
    with redis_server(tmp_path, port):
        cache = RedisCache(f"redis://127.0.0.1:{port}/0", 60)
        await cache._connection().set("hdx:answer:k", b"\x80\x04not json")
        assert await cache.get("k") is None
        await cache.close()


async def test_an_outage_is_no_error_and_ends_by_itself(tmp_path: Path) -> None:
    """Without Redis there is no cache and nothing raises; once it is back, a ping brings the cache back."""
    port = free_port()
    cache = RedisCache(f"redis://127.0.0.1:{port}/0", 60)
    assert await cache.get("k") is None
    await cache.put("k", b'{"n": 1}')
    assert not await cache.ping()
    with redis_server(tmp_path, port):
        assert await cache.ping()
        await cache.put("k", b'{"n": 2}')
        assert await cache.get("k") == b'{"n": 2}'
    assert await cache.get("k") is None
    assert not await cache.ping()
    await cache.close()
