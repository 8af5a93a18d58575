"""Finds the machine kind of a system: a shipped one, or one that its tenant defined, in its newest version.

Stands on the store and knows no HTTP; what it has read counts for `FRESH_S`, so that a change is live in all replicas
within that time.
"""

from cachetools import TTLCache

from configs.settings import Limits
from pipelines.errors import InvalidInput, NotFound, UnknownFamily
from pipelines.machines.definition import Definition, find_family
from pipelines.machines.family import FAMILIES_KEPT, OWN_MARK, Family, family_names, name_of
from serve_app.store.protocols import StoreParts

# Source: the contract, five seconds from a change to the last replica.
FRESH_S = 2.0


class Families:
    """The machine kinds that a tenant's systems may be of."""

    def __init__(self, store: StoreParts) -> None:
        self._store = store
        self._known: TTLCache[tuple[int, str], Family] = TTLCache(FAMILIES_KEPT, FRESH_S)

    async def of(self, tenant_id: int, name: str) -> Family:
        """Return a family by the name that a system bears, with the units that it speaks.

        Raises:
            UnknownFamily: None of this name is shipped, and the tenant has none.
        """
        if name_of(name) in family_names():
            return find_family(name)
        known = self._known.get((tenant_id, name))
        if known is None:
            try:
                stored = await self._store.families.get(tenant_id, name)
            except NotFound:
                raise UnknownFamily(name, family_names()) from None
            known = self._known[tenant_id, name] = find_family(name, stored.definition)
        return known

    async def of_answer(self, tenant_id: int, key: str) -> Family:
        """Return the family that an answer was given by, of its version.

        Args:
            key: As `Family.key`.

        Raises:
            UnknownFamily: It is no longer shipped.
        """
        if OWN_MARK not in key or name_of(key) in family_names():
            return find_family(key)
        try:
            return find_family(key, (await self._store.families.of_key(tenant_id, key)).definition)
        except NotFound:
            raise UnknownFamily(key, family_names()) from None


def as_kept(definition: Definition, limits: Limits) -> str:
    """Return a definition as the store keeps it.

    Raises:
        InvalidInput: Its windows have more samples than detect takes, or fewer, so that no system could be judged.
    """
    name, channel = next(iter(definition.channels.items()))
    if not limits.values_min <= round(definition.window_s * channel.rate_hz) <= limits.values:
        least, most = (count / channel.rate_hz for count in (limits.values_min, limits.values))
        samples = f"{limits.values_min} to {limits.values} samples, as {name} has {channel.rate_hz:g} a second"
        raise InvalidInput("window_s", definition.window_s, f"must be {least:g} to {most:g}, for {samples}")
    return definition.spelled_out().to_json()
