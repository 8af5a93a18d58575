"""Trains the members of a family once for as long as nothing changes that they are trained by."""

from hashlib import sha256
from pathlib import Path

from benchmarks.machines.judging import Judge
from pipelines.detectors.bundle import Bundle, pack, unpack
from pipelines.detectors.members import registry
from pipelines.machines.family import FOLDER, read_family
from pipelines.training.train import load, train

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "machines"
SEED = 7
# Everything that a trained member depends on.
SOURCES = ("pipelines/datasets", "pipelines/detectors", "pipelines/machines", "pipelines/signals")
FILES = ("pipelines/training/train.py", "pipelines/diagnosis/calibration.py")


def fingerprint(folders: tuple[str, ...], files: tuple[str, ...]) -> str:
    """Return a name that changes with the sources."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = [path.read_bytes() for path in (*paths, *(ROOT / file for file in files))]
    return sha256(b"\0".join(texts)).hexdigest()[:16]


def trained(name: str = "generic") -> Judge:
    """Return a family's members, kept from an earlier run where the sources are the same."""
    family = read_family(name)
    sources = fingerprint(SOURCES, (*FILES, str((FOLDER / f"{name}.yaml").relative_to(ROOT))))
    folder = KEPT / f"{name}-{sources}"
    if all((folder / member / "card.json").exists() for member in registry()):
        return Judge(family, {member: _read(folder / member) for member in registry()})
    found = train(family, load(family, None, SEED), SEED, lambda *_: None)
    for bundle in found:
        place = folder / bundle.card.detector
        place.mkdir(parents=True, exist_ok=True)
        for file, content in sorted(pack(bundle).items(), reverse=True):  # the card last: it says that all is there
            (place / file).write_bytes(content)
    return Judge(family, {bundle.card.detector: bundle for bundle in found})


def _read(folder: Path) -> Bundle:
    return unpack({path.name: path.read_bytes() for path in folder.iterdir()})
