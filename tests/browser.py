"""What a browser does for a session: keeps cookies, and sends them back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gaesess import Session, SessionManager

# Two keys for a site that changes its key: of two random ones, every 256th pair has the same id, and is refused.
OLD_KEY, NEW_KEY = "the key that signed sessions until a while ago", "the key that signs them from now on, and to come"


class Browser:
    """A cookie jar in front of a session manager."""

    def __init__(self, manager: SessionManager) -> None:
        self.manager = manager
        self.cookies: dict[str, str] = {}
        self.received: list[str] = []

    def header(self) -> str | None:
        """Return the Cookie header the browser would send."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items()) or None

    def copy(self, manager: SessionManager | None = None) -> Browser:
        """Return a browser with the same cookies by now, as a thief may have: of another process with that manager."""
        other = Browser(manager or self.manager)
        other.cookies = dict(self.cookies)
        return other

    def send(self) -> Session:
        """Begin a request, whose response may come at any time, or never."""
        return self.manager.open(self.header())

    def receive(self, session: Session) -> None:
        """End the request: commit the session and take the cookies of the response."""
        self.take(session.commit())

    def take(self, set_cookies: list[str]) -> None:
        """Take the cookies of a response."""
        self.received = set_cookies
        for line in set_cookies:
            pair, *attributes = line.split("; ")
            name, value = pair.split("=", 1)
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    @contextmanager
    def request(self) -> Iterator[Session]:
        """Make a whole request, with the session in between."""
        session = self.send()
        yield session
        self.receive(session)

    def data(self) -> dict[object, object]:
        """Return what the session holds, as seen by one more request."""
        with self.request() as session:
            return dict(session)


def with_session(manager: SessionManager, **data: object) -> Browser:
    """Return a browser that has a session with these data."""
    browser = Browser(manager)
    with browser.request() as session:
        session.update(data)
    return browser
