import json
from io import BytesIO
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from gaesess.demo.feed import Feed
from gaesess.demo.recording import RecordedStore, note, subscribed
from gaesess.demo.server import demo_application
from gaesess.stores.memory import MemoryStore


class Visitor:
    """Sends requests with one client's cookie, through the standard library's validator."""

    def __init__(self):
        self.app = validator(demo_application(RecordedStore(MemoryStore(), "memory"), ["memory"], Feed()))
        self.cookie = None

    def request(self, method, path, body=b"", **environ):
        made = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
        made |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body), **environ}
        if self.cookie:
            made["HTTP_COOKIE"] = self.cookie
        setup_testing_defaults(made)
        answer = []
        chunks = self.app(made, lambda status, headers, exc_info=None: answer.extend([status, headers]))
        try:
            content = b"".join(chunks)
        finally:
            chunks.close()
        for name, value in answer[1]:
            if name == "Set-Cookie":
                self.cookie = None if "; Max-Age=0" in value else value.partition(";")[0]
        return answer[0], dict(answer[1]), content

    def act(self, action, /, **arguments):
        body = json.dumps(arguments).encode()
        status, _, content = self.request("POST", f"/actions/{action}", body, CONTENT_TYPE="application/json")
        assert status == "200 OK", content
        return json.loads(content)

    def state(self):
        return json.loads(self.request("GET", "/state")[2])


@pytest.fixture
def visitor():
    with subscribed(note):
        yield Visitor()


def commit(report):
    return report["commit"]["kind"], [call["verb"] for call in report["commit"]["calls"]]


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/icon.svg"])
def test_the_page_is_served_with_a_strict_policy_and_without_a_session(visitor, path):
    status, headers, content = visitor.request("GET", path)
    assert status == "200 OK"
    assert content
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in headers
    assert "Vary" not in headers


def test_head_gives_the_headers_alone(visitor):
    status, headers, content = visitor.request("HEAD", "/")
    assert (status, content) == ("200 OK", b"")
    assert int(headers["Content-Length"]) > 1000


def test_each_commit_is_told_with_the_store_calls_it_made(visitor):
    assert commit(visitor.state()) == ("none", [])
    assert commit(visitor.act("put", item="Reading lamp")) == ("cookie", [])
    assert commit(visitor.state()) == ("unchanged", [])
    assert commit(visitor.act("resize", size=20_000)) == ("store", ["add"])
    assert commit(visitor.state()) == ("unchanged", ["get"])
    assert commit(visitor.act("resize", size=30_000)) == ("store", ["get", "replace"])
    assert commit(visitor.act("resize", size=0)) == ("cookie", ["get", "replace"])
    assert commit(visitor.act("sign-out")) == ("deleted", ["get", "replace"])


def test_the_sizes_told_are_those_of_the_cookie_that_was_set(visitor):
    body = b'{"item": "Wool blanket"}'
    _, headers, content = visitor.request("POST", "/actions/put", body, CONTENT_TYPE="application/json")
    report = json.loads(content)
    line = headers["Set-Cookie"]
    assert report["cookie"] == {"pair": len(line.partition(";")[0]), "line": len(line)}
    assert report["commit"]["set_cookie"] == [len(line)]


def test_the_report_gives_neither_the_session_id_nor_the_tag_away(visitor):
    fields = {field["name"]: field for field in visitor.act("put", item="Wool blanket")["token"]}
    assert (fields["sid"]["length"], len(fields["sid"]["shown"])) == (16, 4)
    assert (fields["tag"]["length"], len(fields["tag"]["shown"])) == (32, 4)


def test_the_fields_cover_the_token_without_a_gap(visitor):
    fields = visitor.act("put", item="Wool blanket")["token"]
    ends = [0] + [field["offset"] + field["length"] for field in fields]
    assert [field["offset"] for field in fields] == ends[:-1]


def test_a_tampered_cookie_is_told_with_the_reason_gaesess_logs(visitor):
    visitor.act("sign-in", name="Ada")
    assert commit(visitor.act("tamper")) == ("tampered", [])
    report = visitor.state()
    assert report["home"] is None
    assert report["commit"]["text"] == "Refused: ignored the cookie gaesess: token has a tag that does not fit"


def test_one_thing_taken_from_the_cart_leaves_the_others(visitor):
    for item in ("Wool blanket", "Wool blanket", "Reading lamp"):
        visitor.act("put", item=item)
    assert visitor.act("take", item="Wool blanket")["contents"]["cart"] == {"Wool blanket": 1, "Reading lamp": 1}
    assert visitor.act("take", item="Wool blanket")["contents"]["cart"] == {"Reading lamp": 1}
    assert visitor.act("take", item="Wool blanket")["contents"]["cart"] == {"Reading lamp": 1}


JSON = {"CONTENT_TYPE": "application/json", "HTTP_HOST": "127.0.0.1:8642"}


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "environ"),
    [
        (404, "GET", "/elsewhere", b"", {}),
        (404, "POST", "/actions/dance", b"{}", JSON),
        (405, "POST", "/state", b"{}", JSON),
        (405, "GET", "/actions/put", b"", JSON),
        (405, "POST", "/", b"", {}),
        (415, "POST", "/actions/sign-out", b"{}", {"CONTENT_TYPE": "text/plain"}),
        (415, "POST", "/actions/sign-out", b"a=1", {"CONTENT_TYPE": "application/x-www-form-urlencoded"}),
        (403, "POST", "/actions/sign-out", b"{}", JSON | {"HTTP_SEC_FETCH_SITE": "cross-site"}),
        (403, "POST", "/actions/sign-out", b"{}", JSON | {"HTTP_SEC_FETCH_SITE": "same-site"}),
        (403, "POST", "/actions/sign-out", b"{}", JSON | {"HTTP_ORIGIN": "http://127.0.0.1:1"}),
        (403, "POST", "/actions/sign-out", b"{}", JSON | {"HTTP_ORIGIN": "null"}),
        (403, "POST", "/actions/sign-out", b"{}", JSON | {"HTTP_ORIGIN": "http://["}),
        (413, "POST", "/actions/put", b"x" * 5000, JSON),
        (400, "POST", "/actions/put", b"{}", JSON | {"CONTENT_LENGTH": "+2"}),
        (400, "POST", "/actions/put", b"", JSON),
        (400, "POST", "/actions/put", b"{", JSON),
        (400, "POST", "/actions/put", b"\xff", JSON),
        (400, "POST", "/actions/put", b"[" * 4000, JSON),
        (400, "POST", "/actions/put", b"[]", JSON),
        (400, "POST", "/actions/put", b'{"item": "Yacht"}', JSON),
        (400, "POST", "/actions/put", b'{"item": ["Wool blanket"]}', JSON),
        (400, "POST", "/actions/resize", b'{"size": 60001}', JSON),
        (400, "POST", "/actions/resize", b'{"size": true}', JSON),
        (400, "POST", "/actions/resize", b'{"size": 1.5}', JSON),
        (400, "POST", "/actions/sign-in", b'{"name": " "}', JSON),
        (400, "POST", "/actions/sign-in", b'{"name": "\\ud800"}', JSON),
        (400, "POST", "/actions/sign-in", b'{"name": 7}', JSON),
        (400, "POST", "/actions/tamper", b"{}", JSON),
    ],
)
def test_a_request_that_cannot_be_done_is_refused_with_a_reason_and_without_a_session(
    visitor, status, method, path, body, environ
):
    given, headers, content = visitor.request(method, path, body, **environ)
    assert given.startswith(str(status))
    assert json.loads(content)["error"]
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("environ", [{"HTTP_SEC_FETCH_SITE": "same-origin"}, {"HTTP_ORIGIN": "http://127.0.0.1:8642"}])
def test_the_pages_own_requests_are_taken(visitor, environ):
    status, _, _ = visitor.request("POST", "/actions/put", b'{"item": "Wool blanket"}', **JSON, **environ)
    assert status == "200 OK"


def test_the_cart_is_not_filled_without_end(visitor):
    for _ in range(99):
        visitor.act("put", item="Wool blanket")
    status, _, content = visitor.request("POST", "/actions/put", b'{"item": "Wool blanket"}', **JSON)
    assert status.startswith("400")
    assert json.loads(content) == {"error": "the cart takes 99 of a kind"}


class StalledInput(BytesIO):
    """The body of a client that has stopped sending."""

    def read(self, size=-1):
        raise TimeoutError("timed out")


def test_a_body_that_does_not_arrive_is_answered(visitor):
    environ = JSON | {"wsgi.input": StalledInput(), "CONTENT_LENGTH": "20"}
    status, _, content = visitor.request("POST", "/actions/put", **environ)
    assert status.startswith("408")
    assert json.loads(content) == {"error": "the body did not arrive: 20 bytes were announced"}
