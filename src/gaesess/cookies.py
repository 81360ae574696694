"""How session cookies are written: names, attributes and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from time import gmtime

from gaesess import _impl
from gaesess._core import HEADER_BYTES, MAX_CHUNKS, TAG_BYTES

MAX_COOKIE_BYTES = 4093  # name, value and attributes: the least that any browser in use takes
MAX_AGE_SECONDS = 400 * 24 * 3600  # browsers keep no cookie for longer (RFC 6265bis section 5.5)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_CHUNK = re.compile(r"\.[0-9]+\Z")
_DOMAIN = re.compile(r"(?=.{1,254}\Z)\.?[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*")
# RFC 6265bis: no controls and no semicolon (4.1.1), no longer than browsers take (5.6). A URL's path has no spaces.
_PATH = re.compile(r"/[\x21-\x3A\x3C-\x7E]{0,1023}")
_TWO = [f"{number:02}" for number in range(60)]
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

HeaderFields = Iterable[tuple[bytes, bytes]]  # names in lower case, as ASGI has them


def join_cookie_fields(headers: HeaderFields) -> str:
    """Return the Cookie header of a request; over HTTP/2 it may come in parts (RFC 9113 section 8.2.3)."""
    return b"; ".join([value for name, value in headers if name == b"cookie"]).decode("latin-1")


class CookiePolicy:
    """The name and the attributes of the session cookie: always HttpOnly; Secure and SameSite=Lax by default.

    Without a name it is `__Host-gaesess`, which browsers take from this very host by HTTPS only (RFC 6265bis section
    4.1.3.2); with a domain or a path `__Secure-gaesess`, and without Secure `gaesess`. `partitioned` keeps the cookies
    that a site has when it is embedded in others apart for each of them
    (https://developer.mozilla.org/docs/Web/Privacy/Guides/Privacy_sandbox/Partitioned_cookies).

    Raises ValueError for a setting that browsers would answer by dropping the cookie.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        path: str = "/",
        domain: str | None = None,
        secure: bool = True,
        samesite: str = "Lax",
        partitioned: bool = False,
    ) -> None:
        if name is None:
            name = _default_name(path, domain, secure)
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"cookie_name {name!r} has characters that a cookie's name cannot have")
        if _CHUNK.search(name):
            raise ValueError(f"cookie_name {name!r} ends like the second chunk of another session's cookie")
        if not _PATH.fullmatch(path):
            raise ValueError(f"cookie_path {path!r} has to begin with a slash and hold no space or semicolon")
        if domain is not None and not _DOMAIN.fullmatch(domain):
            raise ValueError(f"cookie_domain {domain!r} is not a domain name")
        if samesite not in ("Lax", "Strict", "None"):
            raise ValueError(f'cookie_samesite is "Lax", "Strict" or "None", not {samesite!r}')
        if samesite == "None" and not secure:
            raise ValueError('cookie_samesite="None" needs cookie_secure=True, or browsers drop the cookie')
        if partitioned and not secure:
            raise ValueError("cookie_partitioned=True needs cookie_secure=True, or browsers drop the cookie")
        _check_prefix(name, path, domain, secure)
        self.name = str.__str__(name)  # the core takes no subclass, such as the member of an enum
        self.secure = secure
        self._place = f"; Path={path}" + (f"; Domain={domain}" if domain else "")
        self._rules = f"; HttpOnly; SameSite={samesite}" + ("; Partitioned" if partitioned else "")
        longest = self._attributes(_age(0, MAX_AGE_SECONDS), secure=True)
        self.chunk_chars = MAX_COOKIE_BYTES - len(f"{name}.{MAX_CHUNKS - 1}={longest}")
        if self.chunk_chars < 1000:
            raise ValueError("cookie_name, cookie_path and cookie_domain together leave no room for the session")

    def payload_limit(self, chunks: int) -> int:
        """Return how many bytes of session data that many cookies hold."""
        return chunks * self.chunk_chars * 3 // 4 - HEADER_BYTES - TAG_BYTES

    def chunks_for(self, payload_bytes: int) -> int:
        """Return how many cookies that much session data takes."""
        text_chars = ((HEADER_BYTES + payload_bytes + TAG_BYTES) * 4 + 2) // 3
        return -(-text_chars // self.chunk_chars)

    def write(self, text: str, *, now: int, expires: int | None, secure: bool, taken: int) -> list[str]:
        """Return Set-Cookie values for a token's text, and deletions for the further names an older one has taken.

        The times are in Unix seconds; `expires` None lets the cookie end with the browser.
        """
        attributes = self._attributes("" if expires is None else _age(now, expires), secure)
        written = _impl.write_cookies(self.name, text, attributes, self.chunk_chars)
        return written + self.delete(len(written), taken) if taken > len(written) else written

    def delete(self, first: int, taken: int) -> list[str]:
        """Return Set-Cookie values that make the browser drop the chunks from `first` to before `taken`."""
        names = [f"{self.name}.{number}" if number else self.name for number in range(first, taken)]
        return [f"{name}={self._attributes(_age(0, 0), secure=False)}" for name in names]

    def _attributes(self, age: str, secure: bool) -> str:
        return f"{self._place}{age}{'; Secure' if secure or self.secure else ''}{self._rules}"


def _age(now: int, expires: int) -> str:
    """Return the attributes that end a cookie: a date (RFC 9110 section 5.6.7) and, where it is known, how long."""
    seconds = min(max(expires - now, 0), MAX_AGE_SECONDS)
    day, second = divmod(now + seconds, 86400)
    hour, second = divmod(second, 3600)
    minute, second = divmod(second, 60)
    return f"; Expires={_date(day)} {_TWO[hour]}:{_TWO[minute]}:{_TWO[second]} GMT; Max-Age={seconds}"


@lru_cache(1000)  # days: more than sessions end on
def _date(day: int) -> str:
    year, month, day_of_month, _, _, _, weekday = gmtime(day * 86400)[:7]
    return f"{_DAYS[weekday]}, {_TWO[day_of_month]} {_MONTHS[month - 1]} {year}"


def _default_name(path: str, domain: str | None, secure: bool) -> str:
    if not secure:
        return "gaesess"
    return "__Host-gaesess" if path == "/" and domain is None else "__Secure-gaesess"


def _check_prefix(name: str, path: str, domain: str | None, secure: bool) -> None:
    """Hold the name prefixes of RFC 6265bis section 4.1.3 to what they promise; browsers match them in any case."""
    host = name.lower().startswith("__host-")
    if (host or name.lower().startswith("__secure-")) and not secure:
        raise ValueError(f"a cookie named {name!r} needs cookie_secure=True, or browsers drop it")
    if host and (path != "/" or domain is not None):
        raise ValueError(f'a cookie named {name!r} needs cookie_path="/" and no cookie_domain, or browsers drop it')
