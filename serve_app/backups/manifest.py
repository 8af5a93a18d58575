"""What a backup says of itself, and whether its files are what it says: no byte of it is believed before.

It holds no secret. Who has the secret that it was made with can tell by `mac` that nobody else has written it; who has
lost that, and kept the audit's public key elsewhere, can tell by `signature`. By itself it proves nothing.
"""

import hmac
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from configs.settings import Settings
from pipelines.errors import InvalidInput
from serve_app.sealing import signer_of as audit_signer
from serve_app.shared.checkpoints import Verifier
from serve_app.shared.credentials import backup_key
from serve_app.shared.registry_access import signer_of

NAME = "manifest.json"
FORMAT = 1  # of the folder; another number is refused
HDX, MLFLOW = "hdx.dump", "mlflow.dump"
KNOWLEDGE, AUDIT, ARTIFACTS, ARCHIVE = "knowledge", "audit", "artifacts", "archive"
CHUNK = 1 << 20  # bytes that are in memory at once; source: own choice
MANIFEST_MAX = 1 << 30  # bytes; source: own choice, some millions of files


def _relative(name: str) -> str:
    path = PurePosixPath(name)
    inside = path.parts[:1] and path.parts[0] in (KNOWLEDGE, AUDIT, ARTIFACTS, ARCHIVE) and len(path.parts) > 1
    plain = path.as_posix() == name and ".." not in path.parts and "\0" not in name
    if not plain or not (inside or name in (HDX, MLFLOW)):
        raise ValueError(f"{name!r} is no place in a backup")
    return name


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("must name its time zone")
    return text


class Held(BaseModel):
    """A file of a backup."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Manifest(BaseModel):
    """What a backup holds.

    Attributes:
        hdx: Version that made it.
        made_at: Moment of what the tables hold, by the database's clock; ISO 8601.
        db_schema: Revision of HDX's tables.
        mlflow_schema: Revision of MLflow's; empty where they are not held.
        postgres: Major version of the server that the tables come from.
        owners: Roles other than the application's that a policy of the tables names.
        archive: Folder in the archive that is this database's; empty where there is none.
        audit_key: By which its checkpoints are verified.
        models_key: By which its versions are.
        left_out: What it does not hold, in words.
        lost: Files that the tables name, and that were there no more.
        mac: By who has the secret, over all the rest.
        signature: By the audit's key over the same, as a line of a note.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    hdx: str
    made_at: Annotated[str, AfterValidator(_moment)]
    db_schema: str
    mlflow_schema: str
    postgres: int
    owners: list[str]
    archive: str = Field(pattern="^[0-9a-f]*$")
    audit_key: str
    models_key: str
    left_out: list[str]
    lost: list[str]
    files: dict[Annotated[str, AfterValidator(_relative)], Held]
    mac: str = ""
    signature: str = ""

    def to_json(self) -> bytes:
        """Return it as its file has it; equal ones give equal bytes."""
        return json.dumps(self.model_dump(), sort_keys=True, indent=1).encode()

    def signed(self, settings: Settings) -> "Manifest":
        """Return it with what proves that who made it has the secret."""
        return self.model_copy(
            update={"mac": self._mac(settings), "signature": audit_signer(settings).line(self._text())}
        )

    def is_signed(self, settings: Settings) -> bool:
        """Tell whether somebody with this secret has made it."""
        return hmac.compare_digest(self.mac.encode(), self._mac(settings).encode())

    def is_signed_by(self, audit_key: str) -> bool:
        """Tell whether somebody has made it with the secret that a key of the audit is of, `hdx audit key` then.

        Raises:
            ValueError: The key is none.
        """
        return Verifier([audit_key]).holds(self._text(), self.signature)

    def is_of(self, settings: Settings) -> bool:
        """Tell whether the service of the backup had this secret."""
        return (self.audit_key, self.models_key) == keys_of(settings)

    @property
    def digest(self) -> str:
        """Tells this backup from all others."""
        return sha256(self.to_json()).hexdigest()

    def _unsigned(self) -> bytes:
        return self.model_copy(update={"mac": "", "signature": ""}).to_json()

    def _mac(self, settings: Settings) -> str:
        return hmac.new(backup_key(settings.secret_key.get_secret_value()), self._unsigned(), sha256).hexdigest()

    def _text(self) -> str:
        """Return what is signed; its first line tells it from a checkpoint."""
        return f"hdx/backup\n{sha256(self._unsigned()).hexdigest()}\n"


def check_name(name: str) -> None:
    """Refuse a file that a manifest cannot name, before anything is copied that could not be restored.

    Raises:
        InvalidInput: It is one.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidInput("file", ascii(name), "has a name that is no UTF-8: rename or remove it") from None


def keys_of(settings: Settings) -> tuple[str, str]:
    """Return the public keys of audit and models that follow from the secret; they reveal nothing of it."""
    return audit_signer(settings).public_key, signer_of(settings).public.hex()


def read_manifest(source: Path) -> Manifest:
    """Return what a backup says of itself.

    Raises:
        InvalidInput: It is none, or of another format.
    """
    path = source / NAME
    try:
        if path.is_symlink() or path.stat().st_size > MANIFEST_MAX:
            raise InvalidInput("source", source, f"{NAME} is none that `hdx backup` writes")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        rule = f"must be a folder that `hdx backup` has written to its end: it has no {NAME}"
        raise InvalidInput("source", source, rule) from None
    _check_format(source, content)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidInput(f"{NAME}: {'.'.join(map(str, first['loc']))}", source, first["msg"]) from None
    return manifest


def _check_format(source: Path, content: bytes) -> None:
    """Refuse another format by its number: it may have other fields, too."""
    try:
        found = json.loads(content)
    except ValueError:
        return
    if isinstance(found, dict) and found.get("format") != FORMAT:
        raise InvalidInput("source", source, f"must be of format {FORMAT}; this one is of {found.get('format')}")


def check_files(source: Path, manifest: Manifest) -> None:
    """Check that a backup's files are those of its manifest, all of them and no other, byte by byte.

    Raises:
        InvalidInput: Names the first that is not.
    """
    found = set(_names(source)) - {NAME}
    for name in sorted(found ^ set(manifest.files)):
        rule = "must be in the manifest, and is not" if name in found else "must be there, and is missing"
        raise InvalidInput(name, source, rule)
    for name, held in sorted(manifest.files.items()):
        for _ in checked(source / name, name, held):
            pass


def checked(path: Path, name: str, held: Held) -> Iterator[bytes]:
    """Yield a file bit by bit.

    Raises:
        InvalidInput: Once it has ended, where it is not the one that the manifest means.
    """
    digest, size = sha256(), 0
    for piece in pieces(path):
        digest.update(piece)
        size += len(piece)
        yield piece
    if size != held.size:
        raise InvalidInput(name, size, f"must have {held.size} bytes, by the manifest")
    if digest.hexdigest() != held.sha256:
        raise InvalidInput(name, digest.hexdigest(), f"was changed: its SHA-256 must be {held.sha256}")


def pieces(path: Path) -> Iterator[bytes]:
    """Yield a file bit by bit; a link is not followed.

    Raises:
        OSError: It cannot be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")


def _names(source: Path) -> Iterator[str]:
    """Yield the names of all files; no link is followed.

    Raises:
        InvalidInput: Something is neither file nor folder, such as a link.
    """
    for folder, folders, files in os.walk(source):
        for each in (*(Path(folder, name) for name in folders), *(Path(folder, name) for name in files)):
            name = each.relative_to(source).as_posix()
            if each.is_symlink() or not (each.is_file() or each.is_dir()):
                raise InvalidInput(name, source, "must be a file or a folder, and no link")
            if each.is_file():
                yield name


def summary(manifest: Manifest) -> Mapping[str, int]:
    """Return how many bytes each part of a backup has."""
    parts: dict[str, int] = {}
    for name, held in manifest.files.items():
        part = name.partition("/")[0]
        parts[part] = parts.get(part, 0) + held.size
    return parts
