"""What a browser does at a real server on this machine: sends forms, and keeps cookies."""

from __future__ import annotations

from collections.abc import Mapping
from html import unescape
from http.client import HTTPConnection
from urllib.parse import urlencode

from wsgi.client import CookieJar

ANSWER_SECONDS = 60  # a server may only now start its application


class HttpBrowser:
    """A cookie jar in front of the server at a port of localhost."""

    def __init__(self, port: int, cookies: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.cookies = CookieJar(cookies or {})

    def get(self, path: str = "/", **headers: str) -> tuple[int, str]:
        """Return the status and the text of a page."""
        return self._send("GET", path, "", headers)

    def post(self, path: str, **form: str) -> int:
        """Send a form and return the status of the answer."""
        return self._send("POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})[0]

    def look(self) -> str:
        """Return the text of the first page, which has to be there."""
        status, page = self.get()
        assert status == 200
        return page

    def _send(self, method: str, path: str, body: str, headers: Mapping[str, str]) -> tuple[int, str]:
        cookie = {"Cookie": self.cookies.header()} if self.cookies else {}
        connection = HTTPConnection("localhost", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, cookie | dict(headers))
            answer = connection.getresponse()
            self.cookies.receive(answer.headers.get_all("Set-Cookie", []))
            return answer.status, unescape(answer.read().decode())
        finally:
            connection.close()
