"""What a newcomer finds after the first start: a tenant, its administrator, and a healthy machine as system 1."""

import secrets
from dataclasses import dataclass

from configs.settings import Settings
from pipelines.machines.commissioning import commission
from pipelines.machines.family import read_family
from pipelines.signals.reading import make_feature_table
from serve_app.shared.credentials import hash_password
from serve_app.shared.passwords import check_password
from serve_app.store.records import System
from serve_app.store.repository import Store

DEMO_TENANT = "demo"
DEMO_FAMILY = "generic"
DEMO_WINDOWS = 200  # healthy windows that the demo system is commissioned from: enough that its scatter is known to 5 %
WINDOW_SAMPLES = (3, 5, 5, 5, 10, 20, 60)  # as operators send them; the quickstart's window has five


@dataclass(frozen=True, slots=True)
class Login:
    """The first administrator; the password is known only in the run that made it."""

    username: str
    password: str | None


async def make_demo(settings: Settings, url: str) -> Login:
    """Make the demo tenant, its administrator and system 1, each only when absent."""
    store = Store.open(url, 1)
    try:
        tenant = await store.tenants.ensure(DEMO_TENANT)
        login = await make_admin(settings, store, tenant)
        if not await store.systems.page(tenant):
            system = await store.systems.add(tenant, "Demo power unit", DEMO_FAMILY, "Healthy; shipped with HDX")
            await teach_normal(store, tenant, system)
        return login
    finally:
        await store.close()


async def make_admin(settings: Settings, store: Store, tenant: int) -> Login:
    """Make the first administrator with the password of the settings, or with a fresh one.

    Raises:
        PasswordRefused: The one of the settings breaks a rule.
    """
    if await store.accounts.by_login(settings.admin_username):
        return Login(settings.admin_username, None)
    given = settings.admin_password
    if given:
        check_password(given.get_secret_value(), settings.admin_username, "HDX_ADMIN_PASSWORD")
    password = given.get_secret_value() if given else secrets.token_urlsafe(12)
    await store.accounts.add(tenant, settings.admin_username, settings.admin_email, hash_password(password), "admin")
    return Login(settings.admin_username, None if given else password)


async def teach_normal(store: Store, tenant: int, system: System) -> None:
    """Commission the demo system as a healthy machine at its family's typical levels."""
    from pipelines.datasets.simulator import simulate

    family = read_family(system.family)
    levels = {name: channel.typical for name, channel in family.channels.items()}
    windows = [
        simulate("healthy", 0.0, WINDOW_SAMPLES[seed % len(WINDOW_SAMPLES)], seed, levels)
        for seed in range(DEMO_WINDOWS)
    ]
    table = make_feature_table(windows, [None] * len(windows), family)
    normal = commission(table.raw, family)
    await store.systems.commission(tenant, system.system_id, normal, len(windows), "shipped with HDX")
