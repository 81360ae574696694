"""What the fuzzer starts from, and what it once found: no finding now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from fuzz import seeds, targets

from gaesess.errors import MalformedToken

CORPUS = seeds.CORPUS
INPUTS = [pytest.param(path, id=f"{path.parent.name}-{path.name}") for path in sorted(CORPUS.glob("*/*"))]


@pytest.mark.parametrize("path", INPUTS)
def test_an_input_of_the_corpus_is_no_finding(path: Path) -> None:
    getattr(targets, path.parent.name)(path.read_bytes())


def test_every_target_has_a_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {target.__name__ for target in targets.TARGETS}


def test_the_seeds_are_in_the_corpus(tmp_path: Path) -> None:
    seeds.write(tmp_path)
    for path in tmp_path.glob("*/*"):
        assert (CORPUS / path.relative_to(tmp_path)).read_bytes() == path.read_bytes()


def answering(answer: object) -> SimpleNamespace:
    return SimpleNamespace(parse_sid=lambda text: answer)


def raising(error: Exception) -> SimpleNamespace:
    def parse_sid(text: str) -> None:
        raise error

    return SimpleNamespace(parse_sid=parse_sid)


@pytest.mark.parametrize(
    "twin", [answering((1, False, b"")), raising(MalformedToken("other words")), raising(IndexError())]
)
def test_a_twin_that_does_otherwise_is_a_finding(monkeypatch: pytest.MonkeyPatch, twin: SimpleNamespace) -> None:
    monkeypatch.setattr(targets, "CORES", [*targets.CORES, twin])
    with pytest.raises(AssertionError):
        targets.sid(b"no session id")


def test_an_error_that_is_not_documented_is_a_finding_even_if_the_twins_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "CORES", [raising(IndexError("of both"))] * 2)
    with pytest.raises(AssertionError, match="IndexError is not documented: of both"):
        targets.sid(b"no session id")
