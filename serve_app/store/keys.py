"""API keys: whom a key stands for; only its digest is kept."""

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from pipelines.errors import Conflict, NotFound
from serve_app.store.database import Database, constraint
from serve_app.store.records import Principal, Role
from serve_app.store.tables import api_keys


class Keys:
    """Keys of machines and programs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def principal(self, sha256: bytes) -> Principal | None:
        """Return whom a key stands for."""
        query = select(api_keys.c.tenant_id, api_keys.c.name, api_keys.c.role).where(api_keys.c.sha256 == sha256)
        async with self._database.transaction("hdx.api_key", sha256.hex()) as connection:
            row = (await connection.execute(query)).one_or_none()
        return Principal(row.tenant_id, None, row.name, row.role) if row else None

    async def add(self, tenant_id: int, name: str, role: Role, sha256: bytes) -> None:
        """Let a key stand for a tenant with a role; only its digest is kept.

        Raises:
            Conflict: The key is known already.
            NotFound: There is no such tenant.
        """
        row = {"tenant_id": tenant_id, "name": name, "role": role, "sha256": sha256}
        try:
            async with self._database.tenant(tenant_id) as connection:
                await connection.execute(insert(api_keys).values(row))
        except IntegrityError as error:
            taken = constraint(error) == "api_keys_pkey"
            raise (Conflict("api_key", name) if taken else NotFound("tenant", tenant_id)) from None
