"""Rules of the names that files are indexed under."""

from pathlib import Path

from pipelines.knowledge.ingest.bulk import _sorted_out
from pipelines.knowledge.ingest.ingest import ARTICLES, articles, document_name


def test_no_two_files_of_a_tree_have_one_name(tmp_path: Path) -> None:
    """Each is named by its place, which stays when the tree is copied elsewhere."""
    names = []
    for above in ("here", "elsewhere"):
        folder = tmp_path / above / "manuals"
        for pump in ("A", "B"):
            (folder / pump / "en").mkdir(parents=True)
            (folder / pump / "en" / "manual.md").write_text(f"Pump {pump} is set to 171 bar.", encoding="utf-8")
        names.append([document_name(path, folder) for path in sorted(folder.rglob("*.md"))])
        fresh, unchanged, failed = _sorted_out(sorted(folder.rglob("*.md")), set(), folder)
        assert (list(fresh), unchanged, failed) == (names[-1], [], {})
    assert names[0] == names[1] == ["manuals/A/en/manual.md", "manuals/B/en/manual.md"]


def test_built_in_articles_keep_their_names() -> None:
    """An index of an earlier version knows them by these."""
    assert [document_name(path) for path in articles()] == [
        path.relative_to(ARTICLES).as_posix() for path in articles()
    ]
