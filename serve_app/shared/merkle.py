"""The Merkle tree of RFC 9162, section 2.1, as one grows it leaf by leaf.

Only the roots of its whole subtrees are kept: of a million leaves twenty hashes at most.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Self

HASH = 32  # bytes of SHA-256
EMPTY = sha256(b"").digest()


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over two."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows.

    Attributes:
        size: Its leaves.
        hashes: Roots of its whole subtrees, the largest first: one for each 1 of `size` as a binary number.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size, self.hashes = size, list(hashes)

    @classmethod
    def from_bytes(cls, size: int, content: bytes) -> Self:
        """Return the tree of so many leaves whose hashes are these, one after the other.

        Raises:
            ValueError: There are not as many as such a tree has.
        """
        if size < 0 or len(content) != HASH * size.bit_count():
            raise ValueError(f"a tree of {size} leaves has other hashes")
        return cls(size, (content[at : at + HASH] for at in range(0, len(content), HASH)))

    def to_bytes(self) -> bytes:
        """Return its hashes, one after the other."""
        return b"".join(self.hashes)

    def add(self, leaf: bytes) -> None:
        """Add the hash of a leaf."""
        self.hashes.append(leaf)
        whole = self.size
        while whole & 1:
            right, left = self.hashes.pop(), self.hashes.pop()
            self.hashes.append(node_hash(left, right))
            whole >>= 1
        self.size += 1

    def root(self) -> bytes:
        """Return the hash of all its leaves."""
        if not self.hashes:
            return EMPTY
        *rest, root = self.hashes
        for left in reversed(rest):
            root = node_hash(left, root)
        return root
