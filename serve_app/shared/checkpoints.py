"""What is signed of the audit: how large a tenant's tree was at a moment, and its root.

A checkpoint is a note as C2SP's `tlog-checkpoint` and `signed-note` have it, with three lines of ours: when it was
signed, up to when all notes were in the tree, and how many of its first leaves retention has dropped.

Source: https://c2sp.org/tlog-checkpoint, https://c2sp.org/signed-note.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from serve_app.shared.merkle import HASH, Tree

NAME = "hdx-audit"
ED25519 = b"\x01"  # the kind of signature; source: C2SP's signed-note
ID, SIGNATURE = 4, 64  # bytes
PLATFORM = "hdx/audit/platform"
TEXT = re.compile(
    r"hdx/audit/(?:platform|tenant/(?P<tenant>[1-9]\d{0,9}))\n(?P<size>0|[1-9]\d{0,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"time (?P<time>\d{1,11})\nthrough (?P<through>\d{1,11})\ndropped (?P<dropped>0|[1-9]\d{0,18})\n",
    re.ASCII,
)
# What a note ends with: a signature a line, and no line that is none.
SIGNATURES = re.compile(r"(?:\u2014 [^\n]+\n)+")


def origin_of(tenant_id: int | None) -> str:
    """Return what a tenant's tree is called, or the platform's."""
    return PLATFORM if tenant_id is None else f"hdx/audit/tenant/{tenant_id}"


def tenant_of(origin: str) -> int | None:
    """Return whose tree is called so; None for the platform.

    Raises:
        ValueError: Nobody's.
    """
    found = re.fullmatch(r"hdx/audit/tenant/([1-9]\d{0,9})", origin, re.ASCII)
    if origin != PLATFORM and found is None:
        raise ValueError("names no tree")
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree at a moment.

    Attributes:
        tenant_id: Whose; None for the platform's.
        size: Leaves.
        time: When it was signed, in seconds since 1970.
        through: All notes that were written by then are in the tree; 0 where that is not known.
        dropped: Leaves from the first on whose notes retention has dropped.
    """

    tenant_id: int | None
    size: int
    root: bytes
    time: int
    through: int
    dropped: int

    def text(self) -> str:
        """Return what is signed."""
        lines = origin_of(self.tenant_id), self.size, b64encode(self.root).decode()
        ours = f"time {self.time}", f"through {self.through}", f"dropped {self.dropped}"
        return "".join(f"{line}\n" for line in (*lines, *ours))


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A signed checkpoint as it is kept, with what its tree grows on from.

    Attributes:
        hashes: As `Tree.to_bytes` writes them; whether they are those of the note's root is the reader's to check.
    """

    note: str
    hashes: bytes

    def to_line(self) -> bytes:
        """Return it as a line of JSON."""
        return orjson.dumps({"note": self.note, "hashes": b64encode(self.hashes).decode()})

    @classmethod
    def from_line(cls, line: bytes) -> "KeptCheckpoint":
        """Read it.

        Raises:
            ValueError: It is none.
        """
        try:
            read = orjson.loads(line)
            return cls(str(read["note"]), b64decode(read["hashes"], validate=True))
        except (TypeError, KeyError, Error, orjson.JSONDecodeError):
            raise ValueError("is no checkpoint") from None


class Signer:
    """Signs checkpoints.

    Args:
        seed: Of the private key, 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> str:
        """What its signatures are checked with, as C2SP's signed-note writes it."""
        return f"{NAME}+{_id(self._public).hex()}+{b64encode(ED25519 + self._public).decode()}"

    def sign(self, checkpoint: Checkpoint, tree: Tree) -> KeptCheckpoint:
        """Return it signed, with the hashes of its tree."""
        text = checkpoint.text()
        return KeptCheckpoint(f"{text}\n{self.line(text)}\n", tree.to_bytes())

    def line(self, text: str) -> str:
        """Return the line of a note that signs its text; a text that is no checkpoint's says by itself what it is."""
        signed = b64encode(_id(self._public) + self._key.sign(text.encode())).decode()
        return f"\u2014 {NAME} {signed}"


def said_by(note: str) -> tuple[Checkpoint, str]:
    """Return what a note says, whoever has signed it, and its signatures.

    Raises:
        ValueError: It is no checkpoint.
    """
    text, _, signatures = note.partition("\n\n")
    said = TEXT.fullmatch(text + "\n") if SIGNATURES.fullmatch(signatures) else None
    if said is None:
        raise ValueError("is no checkpoint")
    numbers = (int(said[name]) for name in ("time", "through", "dropped"))
    tenant_id = int(said["tenant"]) if said["tenant"] else None
    return Checkpoint(tenant_id, int(said["size"]), b64decode(said["root"]), *numbers), signatures


def tree_of(said: Checkpoint, hashes: bytes) -> Tree:
    """Return the tree of a checkpoint, to grow on from.

    Raises:
        ValueError: The hashes are not those of its root.
    """
    tree = Tree.from_bytes(said.size, hashes)
    if tree.root() != said.root:
        raise ValueError("has hashes of another tree")
    return tree


class Verifier:
    """Reads checkpoints that one of some keys has signed.

    Raises:
        ValueError: A key is none.
    """

    def __init__(self, public_keys: Sequence[str]) -> None:
        self._keys = dict(map(_key_of, public_keys))

    def read(self, note: str) -> Checkpoint:
        """Return what a note says.

        Raises:
            ValueError: It is no checkpoint, or none of the keys has signed it.
        """
        said, signatures = said_by(note)
        if not any(self.holds(said.text(), line) for line in signatures.split("\n")):
            raise ValueError("is signed by none of the keys")
        return said

    def holds(self, text: str, line: str) -> bool:
        """Tell whether a line of a note is a signature of its text by one of the keys."""
        begin, _, encoded = line.rpartition(" ")
        try:
            content = b64decode(encoded, validate=True)
        except (Error, ValueError):
            return False
        key = self._keys.get(content[:ID])
        if begin != f"\u2014 {NAME}" or len(content) != ID + SIGNATURE or key is None:
            return False
        try:
            key.verify(content[ID:], text.encode())
        except InvalidSignature:
            return False
        return True


def _id(public: bytes) -> bytes:
    return sha256(NAME.encode() + b"\n" + ED25519 + public).digest()[:ID]


def _key_of(text: str) -> tuple[bytes, Ed25519PublicKey]:
    name, _, rest = text.strip().partition("+")
    given, _, encoded = rest.partition("+")
    try:
        content = b64decode(encoded, validate=True)
    except (Error, ValueError):
        content = b""
    if name != NAME or content[:1] != ED25519 or len(content) != 1 + HASH or _id(content[1:]).hex() != given:
        raise ValueError(f"{text[:80]!r} is no key as `hdx audit key` prints it")
    return _id(content[1:]), Ed25519PublicKey.from_public_bytes(content[1:])
