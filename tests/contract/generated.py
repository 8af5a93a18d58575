"""Cases that Schemathesis draws from the served OpenAPI, over the real store, as everybody who may call."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from starlette.types import Receive, Scope, Send

from configs.rates import Rates
from serve_app.api.app import create_app
from serve_app.api.keyed_route import KEY
from serve_app.api.keyed_route import NAME as KEY_HEADER
from serve_app.shared.credentials import TokenIssuer, digest, hash_password
from serve_app.store.records import Account, Principal, Role
from serve_app.store.repository import Store
from tests.contract.stand_ins import ML_KEY, PASSWORD, make_bench

ROLES: tuple[Role, ...] = ("admin", "engineer", "operator", "viewer")
CALLERS = (*ROLES, "key", "nobody")
# What no schema says of a body or a query: the operations that refuse some of what theirs allows, each by a 422 that
# names the rule.
RULED = {
    "POST /api/diagnostics/anomaly/detect/": "channels of the system's family, in its bounds, all of one length",
    "POST /api/diagnostics/diagnose/": "the same",
    "POST /api/diagnostics/anomaly/detect/batch/": "as many items as the setting allows",
    "POST /internal/ml/api/v1/predict/batch": "the same",
    "POST /internal/ml/api/v1/predict": "the same",
    "POST /api/diagnostics/{trace_id}/feedback/": "a verdict that goes with the answer, a component of the family",
    "POST /v1/chat/completions": "the last message of the user has text",
    "POST /api/users/": "a password that few have, a name that is no other's",
    "POST /api/users/{user_id}/password/": "the same",
    "POST /api/auth/password/": "the same",
    "POST /api/auth/invitations/": "a password that few have, unless there is a provider",
    "GET /api/audit/": "from before to",
    "GET /api/audit/export/": "from before to, and no longer than a year",
    "POST /api/keys/": "an end that is still to come, and not far off",
    "POST /api/rag/documents/": "a name that ends as a kind of file does, which is read",
    "POST /api/families/": "bounds and bands in their order, names and units that can be told apart",
    "PUT /api/families/{name}/": "the same",
    "POST /api/families/proposal/": "a file that can be read, with such columns, in such a zone",
    "POST /api/systems/": "a family that is there, units that its own can be converted to",
    "PATCH /api/systems/{system_id}/": "limits by channel of the family, in its bounds, in their order",
    "POST /api/systems/{system_id}/baseline/": "from and to together and in their order, as many windows as it takes",
    "POST /api/systems/{system_id}/baseline/file/": "the same, of a file that can be read",
    "POST /api/systems/{system_id}/readings/": "a file that can be read, moments that can be kept, names in print",
    "GET /api/systems/{system_id}/readings/": "from before to",
    "POST /api/systems/{system_id}/readings/quarantine/": "1 to 1,000 of either, each once, units of the family",
}
MAY_REFUSE = {"expected-statuses": ["2xx", "401", "403", "404", "409", "422", "429"]}
OFF = {"enabled": False}  # the path is also that of a family of this name, whose methods `Allow` names, too


@dataclass
class Tenant:
    """A tenant with an account of each role and a key."""

    tenant_id: int
    accounts: Mapping[Role, Account]
    key: str


class Application:
    """The application over the real store; it counts its requests."""

    def __init__(self, url: str, home: Path) -> None:
        # As many requests a minute as a machine can send, all of one tenant and of one address.
        services = make_bench(home, rates=Rates(on=False)).services
        self.requests = 0
        self.tenant = asyncio.run(make_tenant(url))
        self._store = Store.open(url, 8)
        self._issuer = TokenIssuer(services.settings)
        self._app = create_app(replace(services, store=self._store))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on; close the store with the application."""
        self.requests += scope["type"] == "http"
        # That a key stands for one request no schema says: each gets another one in place of a valid one.
        scope["headers"] = [
            (
                name,
                uuid4().hex.encode()
                if name == KEY_HEADER.encode() and KEY.fullmatch(value.decode("latin-1"))
                else value,
            )
            for name, value in scope.get("headers", ())
        ]
        await self._app(scope, receive, send)
        if scope["type"] == "lifespan":
            await self._store.close()

    def headers(self, caller: str) -> dict[str, str]:
        """Return the credentials of a caller, the administrator's with the keys of the internal face."""
        if caller == "nobody":
            return {}
        if caller == "key":
            return {"X-API-Key": self.tenant.key}
        account = next(each for role, each in self.tenant.accounts.items() if role == caller)
        who = Principal(account.tenant_id, account.user_id, account.username, account.role)
        token = {"Authorization": f"Bearer {self._issuer.issue(who).access}"}
        return token | ({"X-Internal-API-Key": ML_KEY} if caller == "admin" else {})


async def make_tenant(url: str) -> Tenant:
    """Make a tenant with a system."""
    store, name = Store.open(url, 2), uuid4().hex
    try:
        tenant_id = await store.tenants.ensure(name)
        hashed = hash_password(PASSWORD)
        accounts = {
            role: await store.accounts.add(tenant_id, f"{role}-{name}", f"{role}-{name}@example.com", hashed, role)
            for role in ROLES
        }
        await store.keys.add(tenant_id, "line 4", "operator", digest(f"hdx_{name}"))
        await store.systems.add(tenant_id, "Press", "generic", "")
    finally:
        await store.close()
    return Tenant(tenant_id, accounts, f"hdx_{name}")


def settings_of(application: Application, caller: str, seed: int, examples: int, *phases: str) -> SchemathesisConfig:
    """Return what Schemathesis is told: all its checks, by a seed."""
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "headers": application.headers(caller),
            "generation": {"max-examples": examples, "database": "none"},
            "phases": {name: {"enabled": name in phases} for name in ("examples", "coverage", "fuzzing", "stateful")},
            "operations": [
                *({"include-name": name, "checks": {"positive_data_acceptance": MAY_REFUSE}} for name in RULED),
                {"include-name": "POST /api/families/proposal/", "checks": {"allow_header_conformance": OFF}},
            ],
        }
    )


def wrong_in(application: Application, config: SchemathesisConfig) -> Iterator[str]:
    """Yield what fails."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", application, config=config)
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            yield f"{event}"
        elif isinstance(event, events.ScenarioFinished):
            yield from failed_in(event)


def failed_in(event: events.ScenarioFinished) -> Iterator[str]:
    """Yield the checks that fail, each with the request that shows it and its answer."""
    recorder = event.recorder
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status == Status.FAILURE and check.failure_info:
                failure, answered = check.failure_info.failure, recorder.interactions.get(case_id)
                content = answered.response.content[:600] if answered and answered.response else b""
                label, sent = recorder.cases[case_id].value.operation.label, check.failure_info.code_sample
                yield f"{check.name} {label}: {failure.title}: {failure.message}\n{sent}\n{content!r}"
