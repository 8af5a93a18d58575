"""API keys: whom a key stands for; only its digest is kept."""

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipelines.errors import Conflict, NotFound
from serve_app.store.audit import note
from serve_app.store.database import Database, constraint
from serve_app.store.records import COMMAND_LINE, ApiKey, Principal, Role
from serve_app.store.tables import api_keys

KEY = tuple(api_keys.c[name] for name in ApiKey.__dataclass_fields__)


class Keys:
    """Keys of machines and programs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def principal(self, sha256: bytes) -> Principal | None:
        """Return whom a key stands for; None for one that is unknown or revoked."""
        query = select(api_keys.c.tenant_id, api_keys.c.name, api_keys.c.role).where(api_keys.c.sha256 == sha256)
        query = query.where(api_keys.c.revoked_at.is_(None))
        async with self._database.transaction("hdx.api_key", sha256.hex()) as connection:
            row = (await connection.execute(query)).one_or_none()
        return Principal(row.tenant_id, None, row.name, row.role) if row else None

    async def add(self, tenant_id: int, name: str, role: Role, sha256: bytes, actor: str = COMMAND_LINE) -> None:
        """Let a key stand for a tenant with a role; only its digest is kept.

        Raises:
            Conflict: The key is known already.
            NotFound: There is no such tenant.
        """
        row = {"tenant_id": tenant_id, "name": name, "role": role, "sha256": sha256}
        try:
            async with self._database.tenant(tenant_id) as connection:
                made = await connection.execute(insert(api_keys).values(row).returning(api_keys.c.key_id))
                await note(connection, tenant_id, actor, "key.added", f"key {made.scalar_one()}", f"{name}, {role}")
        except IntegrityError as error:
            taken = constraint(error) == "api_keys_pkey"
            raise (Conflict("api_key", name) if taken else NotFound("tenant", tenant_id)) from None

    async def page(self, tenant_id: int, after: int = 0, limit: int = 100) -> list[ApiKey]:
        """Return a page of keys in the order of their ids, the revoked ones too."""
        query = select(*KEY).where(api_keys.c.key_id > after).order_by(api_keys.c.key_id).limit(limit)
        async with self._database.tenant(tenant_id) as connection:
            return [ApiKey(*row) for row in await connection.execute(query)]

    async def revoke(self, tenant_id: int, key_id: int, actor: str = COMMAND_LINE) -> None:
        """End a key.

        Raises:
            NotFound: There is none of this id in this tenant that is not revoked already.
        """
        own = update(api_keys).where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
        async with self._database.tenant(tenant_id) as connection:
            ended = await connection.execute(own.values(revoked_at=func.now()).returning(api_keys.c.name))
            name = ended.scalar_one_or_none()
            if name is None:
                raise NotFound("key", key_id)
            await note(connection, tenant_id, actor, "key.revoked", f"key {key_id}", name)
