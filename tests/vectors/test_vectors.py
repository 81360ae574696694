"""The frozen formats: what an earlier version wrote can be read, and is still written the same way.

The JSON files stand for what browsers and stores hold, so they must not change when the internals do. `notation.py`
explains how to read them. Only `today.py` knows the internals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sameness import same
from vectors import answers, stage, today
from vectors.make import FILES
from vectors.notation import FOLDER, deflates_as_usual, text_of, unhexed, value_of, vectors

from gaesess import SessionManager
from gaesess.stores.memory import MemoryStore

Vector = dict[str, Any]


def each(file: str, *sections: str) -> pytest.MarkDecorator:
    """Run a test for each vector in these sections of a file."""
    found = [vector for section in sections for vector in vectors(file, section)]
    names = [str(vector.get("what") or vector.get("scene") or number) for number, vector in enumerate(found)]
    return pytest.mark.parametrize("vector", found, ids=names)


def expect(answer: Any, vector: Vector) -> None:
    """Check that the answer is the vector's refusal. Some vectors leave the text open, because it is not ours."""
    name, text = vector["refused"]
    assert answer["refused"] == [name, text if text is not None else answer["refused"][1]]


# -- keys


@each("keys.json", "keys")
def test_each_key_is_derived_as_before(vector: Vector) -> None:
    assert answers.derived(vector) == vector["derived"]


@each("keys.json", "labels")
def test_a_session_has_the_label_as_before_in_logs(vector: Vector) -> None:
    assert answers.label(vector) == vector["label"]


# -- session ids


@each("session_ids.json", "good")
def test_a_session_id_is_written_as_before(vector: Vector) -> None:
    assert answers.formatted(vector) == vector["text"]


@each("session_ids.json", "good")
def test_a_session_id_is_read(vector: Vector) -> None:
    assert answers.parsed(vector["text"]) == {name: vector[name] for name in ("expires", "secure", "sid")}


@each("session_ids.json", "refused when read")
def test_an_invalid_session_id_is_refused(vector: Vector) -> None:
    expect(answers.parsed(vector["text"]), vector)


@each("session_ids.json", "refused when written")
def test_a_session_id_with_impossible_fields_is_not_written(vector: Vector) -> None:
    expect(answers.formatted(vector), vector)


@each("session_ids.json", "refused when read")
def test_an_invalid_session_id_loads_no_session(vector: Vector) -> None:
    assert not SessionManager(b"0123456789abcdef0123456789abcdef").load(vector["text"]).is_active()


# -- tokens


@each("tokens.json", "signed", "encrypted")
def test_a_token_is_written_as_before(vector: Vector) -> None:
    assert answers.sealed(vector) == vector["token"]


@each("tokens.json", "signed", "encrypted")
def test_a_token_is_read_until_it_expires(vector: Vector) -> None:
    expected = {name: vector[name] for name in ("flags", "expires", "issued", "revision", "sid", "payload")}
    if "expanded" in vector:
        flags = [flag for flag in vector["flags"].split() if flag != "ZLIB"]
        expected |= {"flags": " ".join(flags), "payload": vector["expanded"]}
    answer = answers.opened(vector, vector["expires"] - 1)
    if "refused" in vector:
        expect(answer, vector)
    else:
        assert answer == expected | {"retired": False}
    assert answers.opened(vector, vector["expires"]) == {"refused": ["ExpiredToken", "token has expired"]}


@each("tokens.json", "refused when read")
def test_an_invalid_token_is_refused(vector: Vector) -> None:
    expect(answers.opened(vector, vector["now"]), vector)


@each("tokens.json", "refused when written")
def test_a_token_with_impossible_fields_is_not_written(vector: Vector) -> None:
    expect(answers.sealed(vector), vector)


# -- cookies


@each("headers.json", "headers")
def test_the_token_is_found_in_the_cookie_header(vector: Vector) -> None:
    expected = vector["found"]
    if expected and "refused" not in expected:
        expected = {name: vector[name] for name in ("flags", *answers.NUMBERS, "sid", "payload")} | expected
    assert answers.found(vector) == expected


@each("headers.json", "headers")
def test_a_cookie_header_is_read_in_bytes_as_in_text(vector: Vector) -> None:
    manager = SessionManager(**answers.ring_of(vector), store=MemoryStore(), clock=lambda: vector["now"])
    header = "".join(character for character in vector["header"] if character <= "\xff")  # in bytes are no others
    assert manager.open([(b"cookie", header.encode("latin-1"))]).sid == manager.open(header).sid


# -- session data


@each("values.json", "sessions")
def test_session_data_are_written_as_before(vector: Vector) -> None:
    assert answers.packed(value_of(vector["data"])) == vector["bytes"]


@each("values.json", "sessions")
def test_session_data_are_read(vector: Vector) -> None:
    data = value_of(vector["data"])
    packed = today.pack(data) if vector["bytes"].startswith("sha256:") else unhexed(vector["bytes"])
    assert same(today.unpack(packed), data)


@each("values.json", "refused")
def test_unsupported_session_data_are_refused(vector: Vector) -> None:
    expect(answers.packed(value_of(vector["data"])), vector)


@each("bad_values.json", "refused")
def test_invalid_session_data_are_refused(vector: Vector) -> None:
    expect(answers.unpacked(unhexed(vector["bytes"])), vector)


@each("bad_values.json", "read")
def test_session_data_in_another_spelling_are_read(vector: Vector) -> None:
    assert same(answers.unpacked(unhexed(vector["bytes"])), value_of(vector["data"]))


@each("bad_values.json", "read")
def test_session_data_in_another_spelling_are_written_in_the_canonical_one(vector: Vector) -> None:
    answer = answers.packed(value_of(vector["data"]))
    if "refused" in vector:
        expect(answer, vector)
    else:
        assert answer == vector["packed again"]


@pytest.fixture
def ndb_names() -> Vector:
    pytest.importorskip("google.cloud.ndb")
    from vectors.ndb_names import NDB_NAMES

    return NDB_NAMES


@each("ndb_values.json", "sessions")
def test_ndb_values_are_written_as_before(vector: Vector, ndb_names: Vector) -> None:
    assert answers.packed(value_of(vector["data"], **ndb_names)) == vector["bytes"]


@each("ndb_values.json", "sessions")
def test_ndb_values_are_read(vector: Vector, ndb_names: Vector) -> None:
    assert same(today.unpack(unhexed(vector["bytes"])), value_of(vector["data"], **ndb_names))


@each("ndb_values.json", "refused")
def test_unsupported_ndb_values_are_refused(vector: Vector, ndb_names: Vector) -> None:
    expect(answers.packed(value_of(vector["data"], **ndb_names)), vector)


# -- records


@each("records.json", "payloads")
def test_the_payload_of_a_record_is_written_as_before(vector: Vector) -> None:
    assert answers.framed(vector) == vector["payload"]


@each("records.json", "payloads")
def test_the_payload_of_a_record_is_read(vector: Vector) -> None:
    expected = {"data": "", "write_ids": "", "cookie_revision": 0, "heir": None}
    assert answers.unframed(vector) == {name: vector.get(name, usual) for name, usual in expected.items()}


@each("records.json", "refused")
def test_an_invalid_payload_of_a_record_is_refused(vector: Vector) -> None:
    expect(answers.unframed(vector), vector)


@each("records.json", "keys of sessions")
def test_the_record_of_a_session_has_the_same_key(vector: Vector) -> None:
    assert today.key_of_record(vector["expires"], unhexed(vector["sid"])) == vector["key"]


@each("records.json", "keys of users")
def test_the_record_of_a_user_has_the_same_key(vector: Vector) -> None:
    assert answers.key_of_user(vector) == vector["key"]


@each("records.json", "in memcached")
def test_a_record_is_written_to_memcached_as_before(vector: Vector) -> None:
    assert today.memcached_value(vector["version"], unhexed(vector["data"])) == unhexed(vector["value"])


@each("records.json", "in memcached")
def test_a_record_is_read_from_memcached(vector: Vector) -> None:
    assert today.read_memcached_value(unhexed(vector["value"])) == (vector["version"], unhexed(vector["data"]))


@each("refusals.json", "refusals")
def test_a_session_is_accepted_or_refused_as_before(vector: Vector, tmp_path: Path) -> None:
    assert stage.refusal(vector, tmp_path) == {name: vector[name] for name in ("session", "events")}


# -- scenes


def play(scene: Vector, folder: Path, interface: str = "wsgi") -> None:
    if "compress=True" in scene["settings"] and not deflates_as_usual():
        pytest.skip("the zlib on this machine compresses differently")
    expected = [{name: step[name] for name in step.keys() - stage.INPUTS} for step in scene["steps"]]
    if interface == "asgi":
        for step in expected:
            if "response" in step:
                step["response"] = [[name.lower(), value] for name, value in step["response"]]
    for number, step in enumerate(stage.play(scene, folder, interface)):
        assert step == expected[number], f"step {number}"


@each("set_cookie.json", "scenes")
def test_cookies_are_written_as_before(vector: Vector, tmp_path: Path) -> None:
    play(vector, tmp_path)


@each("stored.json", "scenes")
def test_records_are_written_as_before(vector: Vector, tmp_path: Path) -> None:
    play(vector, tmp_path)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@each("requests.json", "scenes")
def test_requests_are_answered_as_before(vector: Vector, interface: str, tmp_path: Path) -> None:
    play(vector, tmp_path, interface)


@pytest.mark.parametrize("file", ["set_cookie.json", "stored.json", "requests.json"])
def test_what_was_written_before_is_read(file: str, tmp_path: Path) -> None:
    for number, scene in enumerate(vectors(file, "scenes")):
        if "sha256:" in str(scene):  # the file has only hashes of what it wrote
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        for step, (seen, expected) in enumerate(stage.read_back(scene, folder)):
            assert seen == expected, f"{scene['scene']}, step {step}"


def test_an_sqlite_file_has_the_schema_as_before(tmp_path: Path) -> None:
    (scene,) = (scene for scene in vectors("stored.json", "scenes") if scene["store"] == "sqlite")
    stage.Stage(scene, tmp_path).close()
    assert stage.SQLiteFile(tmp_path / stage.FILE).schema() == scene["schema"]


# -- the files


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_what_make_writes_today(file: str, tmp_path: Path) -> None:
    if file == "ndb_values.json":
        pytest.importorskip("google.cloud.ndb")
    if file in ("stored.json", "requests.json") and not deflates_as_usual():
        pytest.skip("the zlib on this machine compresses differently")
    assert text_of(FILES[file](tmp_path)) + "\n" == (FOLDER / file).read_text(encoding="ascii")


def test_make_writes_every_file() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {*FILES}
