"""`make count` on machines that lack what it needs: it is skipped, and says why."""

import pytest
import services
from bench import instructions


def test_without_valgrind_nothing_is_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GAESESS_REQUIRE_SERVICES", raising=False)
    assert instructions.main([]) is None
    assert capsys.readouterr().out == "skipped: valgrind is not installed: install the package valgrind\n"


def test_without_valgrind_it_fails_where_services_are_required(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GAESESS_REQUIRE_SERVICES", "1")
    with pytest.raises(pytest.fail.Exception, match="valgrind is not installed"):
        instructions.main([])


def test_without_the_compiled_core_nothing_is_counted(monkeypatch, capsys):
    services.VALGRIND.require()
    monkeypatch.delitem(instructions.TWINS, "compiled", raising=False)
    assert instructions.main([]) is None
    assert capsys.readouterr().out == "skipped: the core is not compiled\n"
