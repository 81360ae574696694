"""README.md and all of docs/: whoever follows them sees what they say."""

import os
from contextlib import closing
from pathlib import Path
from unittest import SkipTest
from unittest.mock import patch

import pytest
from reader import DOCUMENTS, READER, Reader

from gaesess import events

ROOT = Path(__file__).parents[2]
PATHS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", PATHS, ids=[path.relative_to(ROOT).as_posix() for path in PATHS])
def test_who_follows_a_document_sees_what_it_says(path, tmp_path, monkeypatch, subtests):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setattr(events, "_listeners", ())  # those of one document hear nothing of the next
    document = DOCUMENTS.parse(path)
    reader = Reader(empty)
    document.namespace.update({"__name__": "__main__", READER: reader})
    with patch.dict(os.environ), closing(reader):
        for example in document.examples():
            try:
                example.evaluate()
            except SkipTest as reason:
                with subtests.test(f"line {example.line}"):
                    pytest.skip(str(reason))


def test_a_document_whose_commands_need_curl_is_skipped_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GAESESS_REQUIRE_SERVICES", raising=False)
    page = tmp_path / "page.md"
    page.write_text("```console\n$ curl -s http://localhost:8000/\n```\n")
    document = DOCUMENTS.parse(page)
    document.namespace[READER] = Reader(tmp_path)
    (example,) = document.examples()
    with pytest.raises(pytest.skip.Exception, match="curl is not installed"):
        example.evaluate()
