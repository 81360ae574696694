"""`gaesess inspect`: what it says of a cookie, what it believes, and what it keeps to itself."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from commands import run

from gaesess import SessionManager, cli, generate_key
from gaesess.stores.memory import MemoryStore

KEY = generate_key()
DAY = 24 * 3600


def set_cookies(data: dict[Any, Any], key: str = KEY, **settings: Any) -> list[str]:
    """Return what a response sends for a session with these data."""
    session = SessionManager(key, **settings).open(None)
    session.update(data)
    return session.commit()


def header(lines: list[str]) -> str:
    return "Cookie: " + "; ".join(line.partition(";")[0] for line in lines)


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "cookie.key"
    path.write_text(f"{KEY}\n")
    return str(path)


def inspect(text: str, *options: str) -> tuple[int, dict[str, Any]]:
    result = run("inspect", "--json", *options, stdin=text)
    return result.returncode, json.loads(result.stdout) if result.stdout else {"error": result.stderr}


@pytest.mark.parametrize("settings", [{}, {"encrypt": True}, {"compress": True}, {"cookie_secure": False}], ids=str)
def test_with_the_key_a_genuine_cookie_is_said_to_be_so_with_its_data(key_file: str, settings: dict[str, Any]) -> None:
    if "encrypt" in settings:
        pytest.importorskip("cryptography")
    status, report = inspect(header(set_cookies({"name": "Ada", "pad": "x" * 90}, **settings)), "--key-file", key_file)
    assert (status, report["seal"], report["data"]) == (0, "genuine", {"name": "Ada", "pad": "x" * 90})


def test_every_field_is_told(key_file: str) -> None:
    _, report = inspect(header(set_cookies({"n": 1}, clock=lambda: 1_800_000_000, lifetime=timedelta(days=9))))
    fields = report["fields"]
    assert fields["suite"] == "HMAC-SHA-256"
    assert (fields["issued"], fields["expires"]) == (1_800_000_000, 1_800_000_000 + 9 * DAY)
    assert (fields["chunks"], fields["revision"], fields["flags"]) == (1, 1, [])
    assert (fields["sid"], fields["tag"], fields["payload"]) == (16, 32, 4)


def test_without_a_key_the_data_are_shown_as_not_verified() -> None:
    status, report = inspect(header(set_cookies({"n": 1})))
    assert (status, report["seal"], report["data"]) == (0, "unchecked", {"n": 1})
    assert "not verified: {'n': 1}" in run("inspect", stdin=header(set_cookies({"n": 1}))).stdout


def test_without_the_key_encrypted_data_are_not_to_be_seen() -> None:
    pytest.importorskip("cryptography")
    status, report = inspect(header(set_cookies({"n": 1}, encrypt=True)))
    assert (status, report["without_data"]) == (0, "they are encrypted")
    assert "data" not in report


def test_data_of_any_type_are_json(key_file: str) -> None:
    data = {("a", 1): {b"k": {2}}, 3: [timedelta(1)], None: (1, "x")}
    _, report = inspect(header(set_cookies(data)), "--key-file", key_file)
    assert report["data"] == {"('a', 1)": {"b'k'": "{2}"}, "3": ["datetime.timedelta(days=1)"], "None": [1, "x"]}


def test_a_session_in_the_store_is_said_to_be_there(key_file: str) -> None:
    lines = set_cookies({"n": 1}, store=MemoryStore(), cookie_only_threshold=0)
    _, report = inspect(header(lines), "--key-file", key_file)
    assert (report["seal"], report["without_data"]) == ("genuine", "they are in the store")


def test_a_changed_cookie_is_refused(key_file: str) -> None:
    cookie = header(set_cookies({"name": "Ada"}))
    changed = cookie[:-60] + ("B" if cookie[-60] == "A" else "A") + cookie[-59:]
    status, report = inspect(changed, "--key-file", key_file)
    assert (status, report["seal"]) == (1, "refused")
    assert "changed on its way" in report["reason"]


def test_a_cookie_of_another_name_is_refused(key_file: str) -> None:
    cookie = header(set_cookies({"n": 1}, cookie_name="__Host-other")).replace("__Host-other", "__Host-gaesess")
    status, report = inspect(cookie, "--key-file", key_file)
    assert (status, report["seal"]) == (1, "refused")


def test_an_unknown_key_is_named_by_its_id(key_file: str) -> None:
    status, report = inspect(
        header(set_cookies({"n": 1}, key="another key, that has enough bytes")), "--key-file", key_file
    )
    assert (status, report["seal"]) == (1, "refused")
    assert "none of the keys that were given has sealed it" in report["reason"]


def test_a_retired_key_is_told(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{generate_key()}\n{KEY}\n")
    _, report = inspect(header(set_cookies({"n": 1})), "--key-file", str(keys))
    assert (report["seal"], report["reason"]) == ("genuine", "a retired key has sealed it")


def test_an_expired_cookie_is_told_with_its_data(key_file: str) -> None:
    lines = set_cookies({"n": 1}, clock=lambda: time.time() - 8 * DAY)
    status, report = inspect(header(lines), "--key-file", key_file)
    assert (status, report["seal"], report["data"]) == (1, "expired", {"n": 1})


@pytest.mark.parametrize("text", ["Cookie: __Host-gaesess=!", "Cookie: __Host-gaesess=aaaa", "__Host-gaesess=IUcAAg"])
def test_what_is_no_token_is_refused(text: str) -> None:
    status, report = inspect(text)
    assert (status, report["seal"]) == (1, "refused")


# -- what may be pasted


@pytest.mark.parametrize(
    "paste",
    [
        lambda lines: header(lines),
        lambda lines: header(lines).removeprefix("Cookie: "),
        lambda lines: "\n".join(f"Set-Cookie: {line}" for line in lines),
        lambda lines: "\n".join(lines),
        lambda lines: "HTTP/1.1 200 OK\r\nServer: x\r\n" + "".join(f"< set-cookie: {line}\r\n" for line in lines),
        lambda lines: f"Cookie: theme=dark; {header(lines).removeprefix('Cookie: ')}; lang=en",
    ],
    ids=["Cookie", "its value", "Set-Cookie", "their values", "curl -v", "among others"],
)
def test_a_session_of_several_cookies_is_found_however_it_is_pasted(paste: Any, key_file: str) -> None:
    data = {"pad": "x" * 5000}
    lines = set_cookies(data, cookie_only_threshold=9000)
    assert len(lines) == 2
    status, report = inspect(paste(lines), "--key-file", key_file)
    assert (status, report["seal"], report["data"]) == (0, "genuine", data)
    assert [cookie["name"] for cookie in report["cookies"]] == ["__Host-gaesess", "__Host-gaesess.1"]


def test_the_body_of_a_response_is_no_cookie(key_file: str) -> None:
    (line,) = set_cookies({"n": 1})
    response = f"HTTP/1.0 200 OK\r\nSet-Cookie: {line}\r\nVary: Cookie\r\n\r\nVisit number 1\n"
    status, report = inspect(response, "--key-file", key_file)
    assert (status, report["seal"], report["data"]) == (0, "genuine", {"n": 1})


def test_a_value_alone_is_taken_for_our_cookie(key_file: str) -> None:
    (line,) = set_cookies({"n": 1})
    status, _ = inspect(line.partition(";")[0].partition("=")[2], "--key-file", key_file)
    assert status == 0


def test_a_cookie_of_ones_own_name_is_found_by_it(key_file: str) -> None:
    text = f"{header(set_cookies({'n': 1}, cookie_name='sid'))}; other=1"
    assert run("inspect", stdin=text).stderr == "gaesess: which cookie? There are sid, other; say --cookie-name\n"
    status, report = inspect(text, "--key-file", key_file, "--cookie-name", "sid")
    assert (status, report["seal"]) == (0, "genuine")


def test_nothing_pasted_is_told() -> None:
    result = run("inspect", stdin="\n")
    assert (result.returncode, result.stdout) == (1, "")
    assert "there is no cookie in that" in result.stderr


def test_a_set_cookie_that_deletes_is_told() -> None:
    status, report = inspect("Set-Cookie: gaesess=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure")
    assert (status, report["seal"]) == (0, "deleted")


def test_headers_may_be_in_a_file(tmp_path: Path, key_file: str) -> None:
    file = tmp_path / "headers"
    file.write_text(header(set_cookies({"n": 1})))
    assert run("inspect", "--key-file", key_file, str(file)).returncode == 0


@pytest.mark.parametrize("missing", ["FILE", "--key-file"])
def test_a_file_that_is_not_there_is_told(missing: str) -> None:
    result = run("inspect", *(["no-such-file"] if missing == "FILE" else ["--key-file", "no-such-file"]))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("gaesess: ")
    assert "no-such-file" in result.stderr


def test_names_that_a_terminal_would_obey_are_left_out() -> None:
    assert "\x1b" not in run("inspect", stdin="Cookie: a\x1b[2J=1; b=2; c=3").stderr


# -- attributes


@pytest.mark.parametrize(
    ("line", "objection"),
    [
        ("gaesess=x; Path=/; HttpOnly; SameSite=Lax", "is not Secure"),
        ("gaesess=x; Path=/; Secure; SameSite=Lax", "is not HttpOnly"),
        ("gaesess=x; Path=/; Secure; HttpOnly", "has no SameSite"),
        ("gaesess=x; Path=/; HttpOnly; SameSite=None", "is SameSite=None without Secure"),
        ("__Host-gaesess=x; Path=/; HttpOnly; SameSite=Lax", "has a name whose prefix needs Secure"),
        ("__Host-gaesess=x; Path=/a; Secure; HttpOnly; SameSite=Lax", "has a name whose prefix needs Path=/"),
        (
            "__Host-gaesess=x; Path=/; Domain=a.b; Secure; HttpOnly; SameSite=Lax",
            "has a name whose prefix needs Path=/",
        ),
        (f"gaesess={'x' * 4100}; Path=/; Secure; HttpOnly; SameSite=Lax", "has 4,"),
    ],
)
def test_what_is_wrong_with_a_set_cookie_is_told(line: str, objection: str) -> None:
    _, report = inspect(f"Set-Cookie: {line}")
    assert any(each.startswith(objection) for each in report["cookies"][0]["objections"])


def test_our_own_set_cookie_has_nothing_wrong() -> None:
    _, report = inspect(f"Set-Cookie: {set_cookies({'n': 1})[0]}")
    assert report["cookies"][0]["objections"] == []


# -- secrets


def test_the_key_is_asked_for_on_a_terminal_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "headers"
    file.write_text(header(set_cookies({"n": 1})))
    monkeypatch.setattr("gaesess.cli.inspect.getpass", lambda prompt: KEY)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["inspect", str(file)]) == 0
    written = "".join(capsys.readouterr())
    assert "genuine" in written
    assert KEY not in written


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_nothing_that_is_printed_lets_anybody_use_the_session(key_file: str, options: tuple[str, ...]) -> None:
    session = SessionManager(KEY).open(None)
    session["n"] = 1
    (line,) = session.commit()
    assert session.sid is not None
    printed = run("inspect", "--key-file", key_file, *options, stdin=f"Set-Cookie: {line}").stdout
    value = line.partition(";")[0].partition("=")[2]
    assert session.sid[11:] not in printed
    assert value not in printed
    assert value[-20:] not in printed


def test_a_short_key_is_told_without_being_quoted(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("hunter2\n")
    result = run("inspect", "--key-file", str(keys), stdin=header(set_cookies({"n": 1})))
    assert (result.returncode, result.stdout) == (1, "")
    assert "cookie_key has 7 bytes" in result.stderr
    assert "hunter2" not in result.stderr
