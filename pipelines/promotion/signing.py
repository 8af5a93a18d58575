"""Signs what a registered version is, by a key that no registry holds, and says whether a signature holds.

Who can write into a registry can move aliases, files and tags, but cannot make a version that holds: the statement
names model, version and every file, so that no signature holds for another name, number, tenant or byte.

Source: Ed25519, RFC 8032.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pipelines.errors import ArtefactRejected

SIGNATURE = "hdx_signature"  # tag of a version
PURPOSE = "hdx model version"  # of the statement, so that no other thing signed by the key reads as one


def statement(name: str, version: str, files: Mapping[str, bytes]) -> bytes:
    """Return what is signed of a version; equal versions give equal bytes.

    Args:
        name: Of the registered model, which holds family, detector and tenant.
        version: Its number.
        files: All of the version's files, by name.
    """
    digests = {file: sha256(content).hexdigest() for file, content in files.items()}
    said = {"purpose": PURPOSE, "name": name, "version": version, "files": digests}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


class Signer:
    """Signs versions; only what registers them has it.

    Attributes:
        public: By which others see that a signature is this signer's.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, name: str, version: str, files: Mapping[str, bytes]) -> str:
        """Return the signature of a version, as its tag carries it."""
        return b64encode(self._key.sign(statement(name, version, files))).decode()


def check_signed(name: str, version: str, files: Mapping[str, bytes], signature: str, signers: Sequence[bytes]) -> None:
    """Check that one of the signers has signed just this version.

    Args:
        name: Of the registered model.
        version: Its number.
        files: As they were fetched.
        signature: By the version's tag; empty where there is none.
        signers: Their public keys.

    Raises:
        ArtefactRejected: Nobody has signed it, or something else; names the command to sign it by.
    """
    said = statement(name, version, files)
    if not any(_holds(said, signature, signer) for signer in signers):
        fault = "has a signature that does not hold" if signature else "is not signed"
        raise ArtefactRejected(name, f"version {version} {fault}: `hdx sign {name} {version}` once it is known as good")


def _holds(said: bytes, signature: str, signer: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(b64decode(signature, validate=True), said)
    except (InvalidSignature, ValueError):
        return False
    return True
