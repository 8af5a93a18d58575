"""The whole way of a log-in at a real provider: Canaille, in a process and an environment of its own."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from configs.oidc import Oidc
from serve_app.api.app import create_app
from serve_app.shared.credentials import INVITATION_LIVES, digest, hash_password, new_invitation
from serve_app.store.protocols import StoreParts
from serve_app.store.records_identities import Identity
from tests.contract.stand_ins import PASSWORD, make_bench

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("CANAILLE_PYTHON", str(ROOT / ".venv-canaille" / "bin" / "python"))
HOW = "no Canaille: python3 -m venv .venv-canaille && .venv-canaille/bin/pip install 'canaille[oidc]'"
PEOPLE, CLIENT_ID, SECRET = ("ann", "bob"), "hdx", "a-secret-of-both"
BACK, LOGIN = "http://127.0.0.1/api/auth/oidc/callback/", "/api/auth/oidc/login/"
# Kept in memory, with a key that is drawn at each start.
SERVER = """
import datetime, sys
from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from werkzeug.serving import make_server

password, client_id, secret, back, *people = sys.argv[1:]
app = create_app({"SECRET_KEY": "s" * 32, "CANAILLE": {"DATABASE": "memory"}, "CANAILLE_OIDC": {}})
with app.app_context():
    for name in people:
        mails = [f"{name}@example.com"]
        Backend.instance.save(models.User(user_name=name, family_name=name, emails=mails, password=password))
    client = models.Client(
        client_id=client_id, client_secret=secret, client_name="HDX", client_uri="http://127.0.0.1",
        client_id_issued_at=datetime.datetime.now(datetime.timezone.utc), redirect_uris=[back], scope=["openid"],
        grant_types=["authorization_code"], response_types=["code"], token_endpoint_auth_method="client_secret_basic",
        id_token_signed_response_alg="RS256",
    )
    Backend.instance.save(client)
    client.audience = [client]
    Backend.instance.save(client)
server = make_server("127.0.0.1", 0, app)
print(server.port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """Address of a provider that knows two people and HDX."""
    try:
        subprocess.run([PYTHON, "-c", "import canaille"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(HOW)
    given = [PYTHON, "-c", SERVER, PASSWORD, CLIENT_ID, SECRET, BACK, *PEOPLE]
    with subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
        server.terminate()


@pytest.fixture
async def browser(parts: StoreParts, issuer: str, tmp_path: Path) -> httpx.AsyncClient:
    """A browser before HDX, over each store in turn."""
    settings = Oidc(issuer=issuer, client_id=CLIENT_ID, client_secret=SecretStr(SECRET), redirect_uri=BACK)
    app = create_app(replace(make_bench(tmp_path, oidc=settings).services, store=parts))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


def log_in_there(address: str, person: str) -> str:
    """Go where HDX sends a browser, fill in what the provider's pages ask for, and return where it is sent back to."""
    known = {"login": person, "password": PASSWORD}
    with httpx.Client() as client:
        reply = client.get(address)
        for _ in range(10):
            if reply.is_redirect:
                location = str(reply.url.join(reply.headers["location"]))
                if location.startswith(BACK):
                    return location
                reply = client.get(location)
                continue
            inputs = re.findall(r"<input[^>]*>", reply.text)
            named = {name[1]: each for each in inputs if (name := re.search(r'name="([^"]*)"', each))}
            values = {name: re.search(r'value="([^"]*)"', each) for name, each in named.items()}
            form = {name: found[1] if found else "" for name, found in values.items()}
            reply = client.post(reply.url, data=form | {name: known[name] for name in form.keys() & known.keys()})
    raise AssertionError(reply.text)


async def come_back(browser: httpx.AsyncClient, person: str) -> httpx.Response:
    """Begin at HDX, log in at the provider, and return what HDX answers to whom it sends back."""
    begun = await browser.get(LOGIN)
    assert begun.status_code == 302, begun.text
    return await browser.get(log_in_there(begun.headers["location"], person))


async def test_a_person_logs_in(browser: httpx.AsyncClient, parts: StoreParts, issuer: str) -> None:
    """By the identity that is linked to the account, again and again; of no other person, and by no way back twice."""
    name = uuid4().hex
    tenant_id = await parts.tenants.ensure(name)
    account = await parts.accounts.add(tenant_id, name, f"{name}@example.com", hash_password(PASSWORD), "viewer")
    await parts.identities.link(account, Identity(issuer, "ann"))
    for _ in range(2):
        reply = await come_back(browser, "ann")
        assert reply.status_code == 200, reply.text
        bearer = {"authorization": f"Bearer {reply.json()['access']}"}
        assert (await browser.get("/api/systems/", headers=bearer)).status_code == 200
        assert (await browser.get(reply.url)).status_code == 401
    assert (await come_back(browser, "bob")).status_code == 403
    found = [note.action for note in await parts.audit.page(tenant_id)]
    assert found == ["login", "login", "identity.linked", "user.added"]
    await parts.identities.unlink(account)
    assert (await come_back(browser, "ann")).status_code == 403


async def test_a_tenant_is_made_by_an_identity(browser: httpx.AsyncClient, parts: StoreParts, issuer: str) -> None:
    """Whoever has an invitation logs in at the provider, has a tenant, and logs in without one from then on."""
    name, token = uuid4().hex, new_invitation()
    await parts.invitations.add(name, digest(token), INVITATION_LIVES)
    body = {"invitation": token, "username": name, "email": f"{name}@example.com"}
    begun = await browser.post("/api/auth/invitations/", json=body)
    assert begun.status_code == 202, begun.text
    reply = await browser.get(log_in_there(begun.json()["location"], "bob"))
    assert reply.status_code == 200, reply.text
    account = await parts.identities.account(Identity(issuer, "bob"))
    assert account is not None
    assert (account.username, account.role) == (name, "admin")
    assert (await come_back(browser, "bob")).status_code == 200
    assert (await browser.post("/api/auth/invitations/", json=body)).status_code == 401
    await parts.identities.unlink(account)
