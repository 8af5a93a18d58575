"""API keys: whom a key stands for, and until when; only its digest is kept."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from pipelines.errors import Conflict, NotFound
from serve_app.store.audit import note
from serve_app.store.database import Database, constraint
from serve_app.store.records import COMMAND_LINE, ApiKey, Principal, Role, Scope, written
from serve_app.store.tables import api_keys

KEY = tuple(api_keys.c[name] for name in ApiKey.__dataclass_fields__)
HOLDS = and_(api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.now()))
# Between two writes of a key's last use, of all replicas together. Source: own choice; people ask by days.
LAST_USE_S = 60.0


class Keys:
    """Keys of machines and programs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def principal(self, sha256: bytes) -> Principal | None:
        """Return whom a key stands for; None for one that is unknown, revoked or past its end."""
        row = select(api_keys.c.tenant_id, api_keys.c.name, api_keys.c.role, api_keys.c.scopes)
        query = row.where(api_keys.c.sha256 == sha256, HOLDS)
        async with self._database.transaction("hdx.api_key", sha256.hex()) as connection:
            found = (await connection.execute(query)).one_or_none()
        return Principal(found.tenant_id, None, found.name, found.role, scopes=found.scopes) if found else None

    async def add(
        self,
        tenant_id: int,
        name: str,
        role: Role,
        sha256: bytes,
        actor: str = COMMAND_LINE,
        prefix: str = "",
        scopes: tuple[Scope, ...] | None = None,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        """Let a key stand for a tenant with a role; only its digest is kept.

        Raises:
            Conflict: The key is known already.
            NotFound: There is no such tenant.
        """
        row = {"tenant_id": tenant_id, "name": name, "role": role, "sha256": sha256, "prefix": prefix}
        row |= {"scopes": scopes, "expires_at": expires_at}
        try:
            async with self._database.tenant(tenant_id) as connection:
                made = ApiKey(*(await connection.execute(insert(api_keys).values(row).returning(*KEY))).one())
                await note(connection, tenant_id, actor, "key.added", f"key {made.key_id}", rights_of(made))
                return made
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

    async def used(self, tenant_id: int, moments: Mapping[bytes, datetime]) -> None:
        """Keep when keys were used last, unless what is kept of one is less than a minute older."""
        before = bindparam("at", type_=api_keys.c.last_used_at.type) - timedelta(seconds=LAST_USE_S)
        known = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < before)
        query = update(api_keys).where(api_keys.c.sha256 == bindparam("key"), known)
        # In one order, so that replicas do not wait for each other in a ring.
        rows = [{"key": key, "at": moments[key]} for key in sorted(moments)]
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(query.values(last_used_at=bindparam("at")), rows)


def rights_of(key: ApiKey) -> str:
    """Return in words what a key may do, for the audit."""
    held = "" if key.scopes is None else f", only {' '.join(key.scopes)}"
    return f"{key.name}, {key.role}{held}" + ("" if key.expires_at is None else f", until {written(key.expires_at)}")
