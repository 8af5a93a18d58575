"""What a command needs of the service's parts while no service runs, for as long as the command works.

Works with `bootstrap`, which starts the same parts for `hdx run`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from configs.settings import Settings
from serve_app.local.bootstrap import database
from serve_app.store.repository import Store


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """Open the store, with the embedded server started when none runs, for as long as the block lasts."""
    with database(settings) as (url, _):
        store = Store.open(url, 1)
        try:
            yield store
        finally:
            await store.close()
