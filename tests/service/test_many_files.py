"""Rules of indexing many files at once by Ray Data, on a Ray of its own."""

from pathlib import Path

import numpy as np

from configs.settings import Documents
from pipelines.knowledge.ingest.bulk import index_many
from pipelines.knowledge.ingest.document_reader import Bounds
from pipelines.knowledge.ingest.ingest import ingest
from pipelines.knowledge.records import Question
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import Index
from pipelines.training.local_ray import local_ray

TEXTS = {
    "A/en/manual.md": "# Pump A\n\nThe relief valve of the pump is set to 171 bar.",
    "B/en/manual.md": "# Pump B\n\nThe relief valve of the pump is set to 172 bar.",
    "seals.md": "# Уплотнения\n\nУплотнение цилиндра меняют, когда шток потеет маслом.",
    "broken.pdf": "%PDF-1.4 broken",
}
BOUNDS = Bounds.of(Documents())


def test_many_files_are_indexed_as_one_process_does(tmp_path: Path) -> None:
    """Equal documents, equal hits in both languages; a second run reads nothing again, and a broken file is named."""
    folder = tmp_path / "manuals"
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    files, encoder = sorted(path for path in folder.rglob("*") if path.is_file()), Encoder.load("", "cpu")
    one, many = (Index.open(tmp_path / name, multilingual=False) for name in ("one", "many"))
    ingest(files, one, encoder, 1, folder=folder)
    with local_ray(2):
        reports = [index_many(files, many, 1, ("", "cpu"), 1, BOUNDS, lambda *_: None, folder=folder) for _ in range(2)]
    assert [(len(report.added), len(report.unchanged)) for report in reports] == [(3, 0), (0, 3)]
    assert [list(report.failed) for report in reports] == [["manuals/broken.pdf"]] * 2
    assert many.documents(1) == one.documents(1)
    for text, language in (("Why does the rod sweat?", "en"), ("Когда менять манжету?", "ru")):
        asked = Question(text, language, 3, encoder.encode([text])[0].astype(np.float64), made=encoder.made)  # type: ignore[arg-type]
        found = [[(hit.passage, round(hit.score, 4)) for hit in index.search(1, asked)] for index in (one, many)]
        assert found[0] == found[1]
        assert found[0][0][0].title == "Уплотнения"
