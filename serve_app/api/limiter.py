"""What a request is, whose quotas it counts against, and whether there is a place for it.

The outermost layer asks whether there is a place before a body is read, and takes it for a long one that a known caller
sends, else once the body is there: a stranger's half a request has none. Whoever learns who calls has it counted.
"""

import asyncio
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, get_args

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from configs.rates import Rate, Rates
from pipelines.errors import Overloaded, QuotaExceeded
from serve_app.shared.quotas import PERIOD_S, Balance, Quota, Quotas
from serve_app.store.protocols_rates import Ledger
from serve_app.store.records import Principal

Kind = Literal["detect", "readings", "documents", "chat", "batch", "management", "login"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What of a gateway's places requests of a kind may fill: what can wait is refused first. Source: own choice; detection
# and readings leave 16 to windows that are judged unasked (`TOGETHER` of the worker), people leave a quarter to both,
# and questions, documents and batches half to all of those.
SHARES: dict[Kind, float] = {
    "detect": 15 / 16,
    "readings": 15 / 16,
    "login": 3 / 4,
    "management": 3 / 4,
    "documents": 1 / 2,
    "chat": 1 / 2,
    "batch": 1 / 2,
}
RETRY_S = 1  # when there is no place; source: own choice, most requests take a tenth of it
# A log-in that is refused by its address is told so after a while, so that whoever waits for answers floods nobody; so
# many at a time. Source: own choice; what waits costs memory alone, and HAProxy holds them before they come here.
HELD_S, HELD_MAX = 1.0, 64
# What of a kind's places one tenant's callers may have with bodies that are still on their way. Source: own choice; who
# sends slowly leaves half to all others.
SENDING = 1 / 2
BALANCES, KIND, PLACE, DEVICE_COOKIE = "hdx.balances", "hdx.kind", "hdx.place", "hdx_device"
WANTED, SENDER = "hdx.wanted", "hdx.sender"  # in the scope: the kind of place that is not taken yet; whose body comes
EXACT: dict[str, Kind] = {
    "/api/diagnostics/anomaly/detect/": "detect",
    "/api/diagnostics/diagnose/": "detect",
    "/internal/ml/api/v1/predict": "detect",
    "/internal/ml/api/v1/predict/batch": "batch",
    "/internal/rag/api/v1/query": "chat",
    "/api/diagnostics/anomaly/detect/batch/": "batch",
    "/api/families/proposal/": "batch",
}
PREFIXES: tuple[tuple[str, Kind], ...] = (
    ("/api/auth/", "login"),
    ("/api/rag/documents/", "documents"),
    ("/api/rag/", "chat"),
    ("/v1/", "chat"),
    ("/api/jobs/", "batch"),
    ("/api/", "management"),
)
OF_SYSTEM = re.compile(r"/api/systems/[^/]+/(readings|baseline/file|events)/")
REPLAY = re.compile(r"/api/diagnostics/[^/]+/replay/")


class Arrival(NamedTuple):
    """What is known of a request before its body.

    Attributes:
        waits: It does nothing but wait for what happens, and takes no place; who listen have bounds of their own.
    """

    kind: Kind
    waits: bool = False


def arrival_of(method: str, path: str, media_type: str) -> Arrival | None:
    """Return what a request is; None for what is never limited: health, metrics and the contract."""
    if (kind := EXACT.get(path)) is not None:
        return Arrival(kind)
    if path.startswith("/api/systems/") and (found := OF_SYSTEM.fullmatch(path)):
        if found[1] == "readings" and method == "POST":
            return Arrival("readings" if media_type.startswith("application/json") else "batch")
        if found[1] == "baseline/file":
            return Arrival("batch")
        return Arrival("management", waits=found[1] == "events" and method == "GET")
    if path.startswith("/api/diagnostics/") and REPLAY.fullmatch(path):
        return Arrival("batch")
    return next((Arrival(kind) for prefix, kind in PREFIXES if path.startswith(prefix)), None)


class Limiter:
    """Keeps the quotas and the places of one gateway.

    Args:
        rates: How many requests of whom.
        ledger: Where all replicas add up what they count.
        known_device: Tells whether a cookie is of a device that has logged in before, to whatever account.

    Attributes:
        quotas: The counts.
        on: Whether requests are counted.
    """

    def __init__(self, rates: Rates, ledger: Ledger | None, known_device: Callable[[str], bool]) -> None:
        self._rates, self._known_device, self.on = rates, known_device, rates.on
        # Also where nothing is counted: log-ins that fail are, and what is past is forgotten by it.
        self.quotas = Quotas(ledger)
        self._in_hand, self._held = 0, 0
        self._sending: Counter[int] = Counter()
        self._most = {kind: rates.places * share for kind, share in SHARES.items()}

    async def arrive(self, scope: Scope) -> None:
        """Count a request by its address, and see whether there is a place for it, which `enter` takes.

        Raises:
            QuotaExceeded: The address has had its quota.
            Overloaded: What comes first needs the places that are left.
        """
        scope[BALANCES], headers = [], Headers(scope=scope)
        arrival = arrival_of(scope["method"], scope["path"], headers.get("content-type", ""))
        if arrival is None:
            return
        scope[KIND] = arrival.kind
        try:
            self._count_address(scope, arrival.kind)
        except QuotaExceeded:
            if arrival.kind == "login" and not self._is_known(headers):
                await self._hold()
                raise
            if arrival.kind != "login":
                raise
        if not arrival.waits:
            self._check_room(arrival.kind)
            scope[WANTED] = arrival.kind

    def enter(self, scope: Scope, sender: int | None = None) -> None:
        """Take the place of a request that needs one and has none, which `leave` gives back.

        Args:
            sender: The tenant whose caller sends a body that is not there yet, until `sent`.

        Raises:
            Overloaded: What comes first needs the places that are left, or the sender has its share of them.
        """
        kind: Kind | None = scope.pop(WANTED, None)
        if kind is None:
            return
        self._check_room(kind)
        if sender is not None:
            if self._rates.places and self._sending[sender] >= self._most[kind] * SENDING:
                raise Overloaded(RETRY_S)
            self._sending[sender] += 1
            scope[SENDER] = sender
        self._in_hand += 1
        scope[PLACE] = True

    def sent(self, scope: Scope) -> None:
        """Tell that the body of a request is there."""
        sender: int | None = scope.pop(SENDER, None)
        if sender is not None:
            self._sending[sender] -= 1
            if not self._sending[sender]:
                del self._sending[sender]

    def leave(self, scope: Scope) -> None:
        """Give a request's place back, where it has one."""
        self.sent(scope)
        if scope.pop(PLACE, False):
            self._in_hand -= 1

    def count(self, scope: Scope, caller: Principal) -> None:
        """Count a request, once, against the quotas of its caller.

        Raises:
            QuotaExceeded: One of them is used up.
        """
        kind: Kind | None = scope.pop(KIND, None)
        if kind is not None and self.on:
            scope[BALANCES] += self._taken(scope, self.quotas_of(kind, caller))

    def quotas_of(self, kind: Kind, caller: Principal) -> list[Quota]:
        """Return the quotas of a caller for a kind of requests: the tenant's, and those of the account or key."""
        rate = self._rate(kind)
        whose: tuple[tuple[str, object, int], ...]
        if caller.user_id is None:  # keys of one name are one: a new one in place of an old one has no new quota
            whose = (("key", f"{caller.tenant_id}:{caller.name}", rate.key),)
        else:
            whose = (("account", caller.user_id, rate.account),)
        whose = (("tenant", caller.tenant_id, rate.tenant), *whose)
        return [Quota(f"{who}-{kind}", f"{who}:{name}:{kind}", limit) for who, name, limit in whose if limit]

    def _rate(self, kind: Kind) -> Rate:
        rate: Rate = getattr(self._rates, kind)
        return rate

    def _count_address(self, scope: Scope, kind: Kind) -> None:
        limit = self._rate(kind).address
        if limit and self.on:
            name = f"address:{network_of((scope.get('client') or ('',))[0])}:{kind}"
            scope[BALANCES] += self._taken(scope, [Quota(f"address-{kind}", name, limit)])

    def _taken(self, scope: Scope, quotas: list[Quota]) -> list[Balance]:
        try:
            return self.quotas.take(quotas)
        except QuotaExceeded:
            scope[BALANCES] += self.quotas.balances(quotas)
            raise

    def _check_room(self, kind: Kind) -> None:
        if self._rates.places and self._in_hand >= self._most[kind]:
            raise Overloaded(RETRY_S)

    def _is_known(self, headers: Headers) -> bool:
        cookie = cookie_parser(headers.get("cookie", "")).get(DEVICE_COOKIE)
        return cookie is not None and self._known_device(cookie)

    async def _hold(self) -> None:
        if self._held >= HELD_MAX:
            return
        self._held += 1
        try:
            await asyncio.sleep(HELD_S)
        finally:
            self._held -= 1


def network_of(address: str) -> str:
    """Return what is counted as one address: of IPv6 the 64 bits that one site has at least (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))


def fields_of(balances: Iterable[Balance]) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell a caller its quotas.

    Source: draft-ietf-httpapi-ratelimit-headers-10: lists of strings, as RFC 9651 has them, with `q` requests in `w`
    seconds, of which `r` are left for the next `t` seconds.
    """
    if not balances:
        return []
    policies = ", ".join(f'"{each.quota.policy}";q={each.quota.limit};w={PERIOD_S}' for each in balances)
    left = ", ".join(f'"{each.quota.policy}";r={each.remaining};t={each.reset_s}' for each in balances)
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", left.encode())]
