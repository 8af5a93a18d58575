"""In service tests: two tenants behind the HTTP face, and requests of one that reach for what is the other's.

Routes, fields and parameters are those of the OpenAPI; a tenant's ids are whatever its own lists show. All texts of the
other tenant hold its mark, and its numbers are large and its own, so that a row of it shows in any text.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx

from pipelines.knowledge.answer.answer import extract
from pipelines.knowledge.ingest.ingest import prepare
from pipelines.knowledge.records import Answer, Made, Passage, Question
from pipelines.knowledge.search.index import Index
from pipelines.knowledge.search.text import language_of
from serve_app.api.ports import Asked
from serve_app.shared.credentials import TokenIssuer, digest
from serve_app.store.records import Principal, Role
from serve_app.store.records_watching import Happened
from serve_app.store.repository import Store
from tests.contract.stand_ins import FixedAssistant
from tests.service.houses import make_job

ROLES: tuple[Role, ...] = ("admin", "engineer", "operator", "viewer")
# Far above what other tests count to, and far below the largest key: a number of a row is found in any text.
FIRST_NUMBER = 700_000_000
# What does not belong where it is sent: to SQL, to a shell, to paths, to headers, to formats, and to a database.
ODD: tuple[str, ...] = (
    "' OR 1=1 --", "'; DROP TABLE systems; --", "1; SELECT pg_sleep(5)", '" OR ""="', "') UNION SELECT * FROM users --",
    "%", "_", "*", "..", "../../etc/passwd", "..%2f", "$(id)", "{{7*7}}", "${jndi:ldap://x}", "%s%n", "null", "true",
    "-1", "0", "1e309", "NaN", "99999999999999999999", "\u0000", "\u202eabc", "\ufeff", "\u0131", "\u017f", "\ufdfa",
    "\U0001d49c", "\U0001f469\u200d\U0001f692", "\u00e9", "e\u0301", "насос", "プレス", "a" * 300, " ", "", "\n", "\t",
    "\x7f", "\\", "<script>", "tenant_id", "admin", "*/*",
)  # fmt: skip
# Parameters that no route has: names under which a careless one would sort, filter, widen or impersonate.
UNKNOWN = ("sort", "order_by", "filter", "fields", "include", "q", "tenant", "tenant_id", "user_id", "role", "offset")
CLAIMS = ("x-tenant-id", "x-forwarded-for", "x-forwarded-user", "x-original-url", "x-http-method-override", "host")
# What an answer says of its own making, and of the moment.
OWN = re.compile(r'("(?:processing_time_ms|total_processing_time_ms|timestamp|created)":)[0-9.e+-]+')
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.]*(?:Z|[+-]\d\d:\d\d)?")
MADE = Made("stand-in", 4)
ROWS = (f"2026-03-01T06:{n // 60:02}:{n % 60:02}Z,{100 + n % 7},{45 + n % 3},25.{n % 9},0.5{n % 4}" for n in range(600))
FILE = "\n".join(("time,pressure [bar],temperature [degC],flow [l/min],vibration [mm/s]", *ROWS)).encode()
SAID = ("example", "const")
# What lists are asked, each of which takes the parameters that it knows: all that there is, by the day of the readings.
ALL = {"limit": "200", "from": "2026-02-28T00:00:00Z", "to": "2026-03-03T00:00:00Z"}


class IndexedAssistant(FixedAssistant):
    """Answers from a real index by its words alone, of the tenant that asks."""

    def __init__(self, index: Index) -> None:
        super().__init__()
        self._index = index

    async def ask(self, asked: Asked) -> Answer:
        """Search what the tenant has."""
        question = Question(asked.text, language_of(asked.text), asked.limit, context=asked.context)
        return extract(question, self._index.search(asked.tenant_id, question))

    async def flagged(self, tenant_id: int, document_id: str) -> list[Passage]:
        """Look them up."""
        return self._index.flagged(tenant_id, document_id)


class Shelf:
    """Reads documents into the index as they are announced, and drops those that go."""

    def __init__(self, store: Store, index: Index) -> None:
        self._store, self._index = store, index

    def announce(self, tenant_id: int, document_id: str) -> None:
        """Leave it for later: `read` is called where a test wants it."""

    async def read(self, tenant_id: int, document_id: str) -> None:
        """Read one that waits."""
        stored = await self._store.documents.get(tenant_id, document_id)
        document, passages = prepare(stored.name, await self._store.documents.content(tenant_id, document_id))
        self._index.add(tenant_id, passages, None, document.sha256, MADE)
        pages = [page.text for page in document.pages]
        known = {"title": document.title, "language": document.language, "passages": len(passages), "pages": pages}
        await self._store.documents.begin(tenant_id, document_id)
        await self._store.documents.finish(tenant_id, document_id, state="ready", flagged=0, reason="", **known)

    async def settle(self, tenant_id: int, document_id: str) -> None:
        """Remove one."""
        self._index.remove(tenant_id, document_id)
        await self._store.documents.drop(tenant_id, document_id)


@dataclass
class Tenant:
    """A tenant with what its own lists say that it has.

    Attributes:
        mark: A word that all its texts hold, and no other's.
        ids: By the name of the field that holds them.
    """

    tenant_id: int
    mark: str
    callers: dict[str, dict[str, str]]
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def admin(self) -> dict[str, str]:
        """What its administrator's requests carry."""
        return self.callers["admin"]


async def make_tenant(store: Store, issuer: TokenIssuer) -> Tenant:
    """Make a tenant with an account of each role and a key."""
    mark = f"mark{uuid4().hex}"
    tenant = Tenant(await store.tenants.ensure(mark), mark, {})
    await let_in(tenant, store, issuer)
    return tenant


async def let_in(tenant: Tenant, store: Store, issuer: TokenIssuer) -> None:
    """Give a tenant accounts and a key, in place of those that it may have disabled itself."""
    for role in ROLES:
        name = f"{role}-{uuid4().hex}-{tenant.mark}"
        account = await store.accounts.add(tenant.tenant_id, name, f"{name}@example.com", "hash", role)
        token = issuer.issue(Principal(tenant.tenant_id, account.user_id, account.username, role)).access
        tenant.callers[role] = {"authorization": f"Bearer {token}"}
    key = f"hdx_{uuid4().hex}"
    await store.keys.add(tenant.tenant_id, f"line {tenant.mark}", "operator", digest(key))
    tenant.callers["key"] = {"x-api-key": key}


async def furnish(tenant: Tenant, client: httpx.AsyncClient, store: Store, shelf: Shelf) -> None:
    """Give a tenant one more of everything, each with its mark."""
    mark, who = tenant.mark, tenant.admin

    async def post(path: str, body: object, **headers: str) -> httpx.Response:
        reply = await client.post(path, json=body, headers=who | headers)
        assert reply.is_success, reply.text
        return reply

    family = f"kind-{uuid4().hex[:12]}"
    channels = {"pressure": {"unit": "bar"}, f"oil {mark}"[:60]: {"unit": "bar"}}
    await post("/api/families/", {"name": family, "title": f"Kind of {mark}", "channels": channels})
    for kind in (family, "generic"):
        named = {"name": f"Press of {mark}", "description": f"in hall {mark}", "family": kind}
        system_id = (await post("/api/systems/", named)).json()["system_id"]
    tenant.ids["system_id"].add(str(system_id))
    rows = [{"at": "2026-03-01T06:00:00Z", "pressure": 101.2, "flow": mark, f"unknown {mark}": 1}]
    await post(f"/api/systems/{system_id}/readings/", {"readings": rows})
    window = {"pressure": [100.5, 101.2, 99.8], "temperature": [45.3] * 3, "flow": [25.0] * 3, "vibration": [0.5] * 3}
    judged = await post("/api/diagnostics/anomaly/detect/", {"system_id": system_id, "sensor_data": window})
    trace_id = judged.json()["trace_id"]
    tenant.ids["trace_id"].add(trace_id)
    await post(f"/api/diagnostics/{trace_id}/feedback/", {"verdict": "confirmed", "note": f"said {mark}"})
    text = f"# Manual of {mark}\n\nThe relief valve of {mark} opens at 217 bar. Set it with the lock nut loose."
    sent = await client.post("/api/rag/documents/", files={"file": (f"{mark}-{family}.md", text)}, headers=who)
    document_id = sent.json()["document_id"]
    await shelf.read(tenant.tenant_id, document_id)
    tenant.ids["document_id"].add(document_id)
    answered = await post("/api/rag/query/", {"query": f"At what pressure opens the relief valve of {mark}?"})
    tenant.ids["trace_id"].add(answered.headers["x-request-id"])
    about = f"/api/rag/answers/{answered.headers['x-request-id']}/feedback/"
    await post(about, {"verdict": "helped", "comment": f"says {mark}"})
    await make_job(store, tenant.tenant_id, system_id, f"time,pressure [bar] {mark}\n".encode())
    await store.events.add(tenant.tenant_id, [Happened(system_id, None, "window.unread", f"happened to {mark}")])


async def look_around(tenant: Tenant, client: httpx.AsyncClient, contract: Mapping[str, Any]) -> dict[str, str]:
    """Return what every GET of the contract shows a tenant's administrator of its own, and note the ids in it."""
    shown: dict[str, str] = {}
    told = [path for path, item in contract["paths"].items() if "get" in item and path.startswith("/api/")]
    told.remove("/api/limits/")  # what one looks at counts
    for path in sorted(told, key=lambda path: path.count("{")):
        for filled in filled_paths(path, tenant):
            reply = await client.get(filled, params=ALL, headers=tenant.admin)
            if reply.status_code == 200 and reply.headers["content-type"] == "application/json":
                shown[filled] = plain(reply.text)
                for name, value in fields_of(reply.json()):
                    if is_id(name) and value is not None:
                        tenant.ids[name].add(str(value))
    return shown


def filled_paths(path: str, tenant: Tenant) -> Iterator[str]:
    """Yield a path with each of a tenant's own ids in it."""
    names = re.findall(r"{(\w+)}", path)
    if not names:
        yield path
    elif path.startswith("/api/families/"):
        yield from (path.replace("{name}", name) for name in sorted(tenant.ids["name"]) if name.startswith("kind-"))
    else:
        known = {"number": {"1"}, **tenant.ids}
        for value in sorted(known.get(names[0], ())):
            yield path.replace(f"{{{names[0]}}}", value).replace("{number}", "1")


def is_id(name: str) -> bool:
    """Tell whether a field of an answer names something that can be asked for."""
    return name.endswith("_id") or name in {"id", "name", "number"}


def fields_of(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield every scalar of JSON with its name."""
    if isinstance(content, dict):
        for name, value in content.items():
            if isinstance(value, dict | list):
                yield from fields_of(value)
            else:
                yield name, value
    elif isinstance(content, list):
        for value in content:
            yield from fields_of(value)


def plain(text: str) -> str:
    """Return an answer without what is of the moment."""
    return MOMENT.sub("moment", OWN.sub(r"\1 0", text))


@dataclass(frozen=True)
class Foreign:
    """An id of the other tenant, and one of the same form that nobody has."""

    value: str
    absent: str

    @classmethod
    def of(cls, value: str) -> "Foreign":
        """Make one that nobody has."""
        try:
            UUID(value)
        except ValueError:
            pass
        else:
            return cls(value, str(uuid4()))
        if value.isdecimal():
            return cls(value, str(int(value) + 1_000_000_000))
        last = value[-1]
        return cls(
            value, value[:-1] + ("y" if last == "x" else "x") if last.isalpha() else value[:-1] + str(9 - int(last))
        )


def given(content: Any, absent: bool) -> Any:
    """Return what is sent, with the other tenant's ids in it or with those that nobody has."""
    if isinstance(content, Foreign):
        return content.absent if absent else content.value
    if isinstance(content, dict):
        return {name: given(value, absent) for name, value in content.items()}
    return [given(value, absent) for value in content] if isinstance(content, list) else content


def numbers(content: Any) -> Any:
    """Return a body whose decimal ids are numbers, as JSON has them."""
    if isinstance(content, dict):
        return {name: int(value) if is_number(name, value) else numbers(value) for name, value in content.items()}
    if isinstance(content, list):
        return [int(v) if is_number("_id", v) and int(v) >= FIRST_NUMBER else numbers(v) for v in content]
    return content


def is_number(name: str, value: Any) -> bool:
    return isinstance(value, str) and value.isdecimal() and value.isascii() and name.endswith("_id")


@dataclass
class Call:
    """One request, in which some ids may be the other tenant's."""

    method: str
    template: str
    path: dict[str, Any]
    query: dict[str, Any]
    headers: dict[str, str]
    body: Any = None
    content: tuple[str, bytes] | None = None

    @property
    def foreign(self) -> list[Foreign]:
        """Which are."""
        return [*foreign_in(self.path), *foreign_in(self.query), *foreign_in(self.body)]

    @property
    def asks_for_another(self) -> bool:
        """Whether it asks for something of the other tenant's."""
        return any(foreign_in([self.path, self.body]))

    async def send(self, client: httpx.AsyncClient, absent: bool = False) -> httpx.Response:
        """Send it, with the other tenant's ids or with those that nobody has."""
        path = self.template
        for name, value in given(self.path, absent).items():
            path = path.replace(f"{{{name}}}", quoted(value))
        # A cursor asks for nothing by itself: it says where one's own list goes on, and another place is another page.
        url = httpx.URL("http://hdx" + path, params=given(self.query, absent=False))
        headers = self.headers
        if self.content is not None:
            kind, sent = self.content
            return await client.request(self.method, url, content=sent, headers=headers | {"content-type": kind})
        if self.body is None:
            return await client.request(self.method, url, headers=headers)
        body = json.dumps(numbers(given(self.body, absent))).encode()
        return await client.request(
            self.method, url, content=body, headers=headers | {"content-type": "application/json"}
        )

    def __str__(self) -> str:
        sent = given([self.path, self.query, self.body], absent=False)
        return f"{self.method} {self.template} {json.dumps(sent)[:400]}"


def quoted(value: str) -> str:
    """Return a value as it stands in a path."""
    return "".join(chr(b) if (chr(b).isalnum() and b < 128) or chr(b) in "-_" else f"%{b:02X}" for b in value.encode())


def foreign_in(content: Any) -> Iterator[Foreign]:
    """Yield the ids of the other tenant."""
    if isinstance(content, Foreign):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from foreign_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from foreign_in(value)


class Calls:
    """Draws requests of one tenant that reach for what is another's."""

    def __init__(self, seed: int, contract: Mapping[str, Any], own: Tenant, other: Tenant) -> None:
        self._random = random.Random(seed)  # noqa: S311 (a run is to be repeated)
        self._contract, self._own, self._other = contract, own, other
        self.operations = [
            (method.upper(), path, operation)
            for path, item in contract["paths"].items()
            for method, operation in item.items()
        ]

    def draw(self, number: int) -> Call:
        """Return a request: every operation in turn, with whatever chance puts into it."""
        method, path, operation = self.operations[number % len(self.operations)]
        parameters = operation.get("parameters", ())
        call = Call(
            method,
            path,
            {each["name"]: self._id(each["name"], path) for each in parameters if each["in"] == "path"},
            dict(self._query(parameters)),
            self._headers(),
        )
        self._fill(call, operation)
        return call

    def _headers(self) -> dict[str, str]:
        names = [*self._own.callers, *["admin"] * 6]
        headers = dict(self._own.callers[self._random.choice(names)])
        if self._random.random() < 0.1:
            headers[self._random.choice(CLAIMS)] = self._random.choice((str(self._other.tenant_id), "127.0.0.1", "GET"))
        return headers

    def _id(self, name: str, path: str) -> Any:
        """Return an id of one's own, of the other, or none at all."""
        if name == "number":
            return self._random.choice(("1", "1", "2", "99"))
        chance = self._random.random()
        if chance < 0.5 and (value := self._known(self._other, name, path)):
            return Foreign.of(value)
        if chance < 0.85 and (value := self._known(self._own, name, path)):
            return value
        return self._random.choice([odd for odd in ODD if odd not in ("", ".", "..")])

    def _known(self, tenant: Tenant, name: str, path: str) -> str | None:
        values = sorted(tenant.ids.get(name, set()))
        if name == "name":
            values = [each for each in values if each.startswith("kind-") == path.startswith("/api/families/")]
            if tenant is self._other and not path.startswith("/api/families/"):
                return None  # models have names that all tenants know
        return self._random.choice(values) if values else None

    def _query(self, parameters: Any) -> Iterator[tuple[str, Any]]:
        for each in parameters:
            if each["in"] == "query" and (each.get("required") or self._random.random() < 0.4):
                yield each["name"], self._value(each["name"], each["schema"])
        if self._random.random() < 0.2:
            yield self._random.choice(UNKNOWN), self._random.choice((str(self._other.tenant_id), *ODD))

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        """Return what a parameter may be, or anything else."""
        chance = self._random.random()
        if chance > 0.7 and name in {"after", "before"}:
            every = [value for values in self._other.ids.values() for value in sorted(values)]
            return Foreign.of(self._random.choice(every))
        if chance < 0.2:
            return self._random.choice(ODD)
        return ALL[name] if name in ALL else str(self._made(schema))

    def _fill(self, call: Call, operation: Mapping[str, Any]) -> None:
        """Put a body into a request that has one."""
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content and self._random.random() < 0.9:
            media = content["application/json"]
            body = media.get("example") or self._made(media["schema"])
            call.body = self._changed(json.loads(json.dumps(body)))
        elif content:
            kind = self._random.choice([*sorted(content), *["text/csv"] * (4 if "text/csv" in content else 0)])
            call.content = (kind, FILE)
            if kind == "multipart/form-data":
                name, text = (
                    self._random.choice(("press.md", "../press.md")),
                    f"# Press\n\nIt opens at {call.path} bar.",
                )
                form = (
                    f'--b\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n{text}\r\n--b--\r\n'
                )
                call.content = (f"{kind}; boundary=b", form.encode())

    def _made(self, schema: Mapping[str, Any]) -> Any:
        """Return something of a schema's shape: its example where it has one."""
        if "$ref" in schema:
            schema = self._contract["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if any(name in schema for name in SAID):
            return next(schema[name] for name in SAID if name in schema)
        if listed := [name for name in ("examples", "enum", "anyOf", "oneOf", "allOf") if name in schema]:
            first = schema[listed[0]][0]
            return self._made(first) if listed[0].endswith("Of") else first
        return self._of_type(schema)

    def _of_type(self, schema: Mapping[str, Any]) -> Any:
        match schema.get("type"):
            case "object":
                wanted = schema.get("required", ())
                return {name: self._made(each) for name, each in schema.get("properties", {}).items() if name in wanted}
            case "array":
                return [self._made(schema.get("items", {})) for _ in range(schema.get("minItems", 0))]
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return False
        return {"uuid": str(uuid4()), "date-time": "2026-03-01T06:00:00Z"}.get(schema.get("format", ""), "text")

    def _changed(self, body: Any) -> Any:
        """Return a body with other ids in it and, at times, with something odd."""
        if isinstance(body, dict):
            body = {name: self._reached(name, value) for name, value in body.items()}
            if body and self._random.random() < 0.1:
                body[self._random.choice(sorted(body))] = self._random.choice(ODD)
            if self._random.random() < 0.05:
                body[self._random.choice(UNKNOWN)] = str(self._other.tenant_id)
        return body

    def _reached(self, name: str, value: Any) -> Any:
        other = self._random.random() < 0.5
        if name in {"accept", "dismiss"} and value:
            kind = "trace_id" if isinstance(value[0], str) else "quarantine_id"
            return [Foreign.of(each) for each in sorted(self._other.ids[kind])[:1]] if other else value
        if name == "family" and isinstance(value, str) and other:
            known = self._known(self._other, "name", "/api/families/")
            return Foreign.of(known) if known else value
        if name == "items" and isinstance(value, list):
            return [self._changed(each) for each in value]
        if name.endswith("_id") and (known := self._known(self._other if other else self._own, name, "")):
            return Foreign.of(known) if other else known
        return value


class Watch:
    """Holds every answer against what the other tenant has, and tells what is wrong."""

    def __init__(self, client: httpx.AsyncClient, own: Tenant, other: Tenant) -> None:
        self._client, self._own, self._other = client, own, other
        self._secrets = self._all()
        self.wrong: list[str] = []
        self.compared = 0
        self.called: set[tuple[str, str]] = set()
        self.reached: set[tuple[str, str]] = set()

    def _all(self) -> re.Pattern[str]:
        """Return what no answer may hold: marks, and ids that are long enough to be nobody else's."""
        values = {value for values in self._other.ids.values() for value in values if len(value) >= 9}
        values -= {value for value in values if value.startswith("hdx-") or not re.search(r"\d", value)}
        return re.compile("|".join(map(re.escape, sorted({self._other.mark, *values}, key=len, reverse=True))))

    def finds(self, text: str) -> bool:
        """Tell whether a text holds anything of the other tenant's."""
        return bool(self._secrets.search(text))

    async def see(self, call: Call) -> None:
        """Send a request, and what it would be if it asked for what nobody has."""
        reply = await call.send(self._client)
        self.called.add((call.method, call.template))
        # Whatever else an administrator is refused, a role does not decide it.
        looked_up = (404, 409, 403) if call.headers.items() >= self._own.admin.items() else (404, 409)
        if reply.is_success or reply.status_code in looked_up:
            self.reached.add((call.method, call.template))
        self._look(call, reply)
        if call.asks_for_another:
            absent = await call.send(self._client, absent=True)
            self._compare(call, reply, absent)

    def _look(self, call: Call, reply: httpx.Response) -> None:
        text = reply.text + "\n".join(f"{name}: {value}" for name, value in reply.headers.items())
        for each in call.foreign:
            text = text.replace(each.value, "")
        if found := self._secrets.search(text):
            self.wrong.append(f"{call}: {reply.status_code} shows {found[0]}: {reply.text[:300]}")
        if reply.status_code >= 500:
            self.wrong.append(f"{call}: {reply.status_code} {reply.text[:300]}")

    def _compare(self, call: Call, reply: httpx.Response, absent: httpx.Response) -> None:
        if 429 in (reply.status_code, absent.status_code):
            return
        self.compared += 1
        one, other = self._said(call, reply), self._said(call, absent)
        if one != other:
            self.wrong.append(f"{call}: not yours {one}\n not there {other}")

    @staticmethod
    def _said(call: Call, reply: httpx.Response) -> tuple[int, dict[str, str], str]:
        """Return an answer without ids, those of requests included, and times."""
        text = plain(reply.text).replace(reply.headers["x-request-id"], "request")
        for each in call.foreign:
            text = text.replace(each.absent, "id").replace(each.value, "id")
        of_the_answer = {"x-request-id", "content-length", "location", "ratelimit"}
        return reply.status_code, {n: v for n, v in reply.headers.items() if n not in of_the_answer}, text
