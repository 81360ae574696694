"""How session cookies are written: names, attributes and sizes."""

from __future__ import annotations

from gaesess._core import MAX_AGE_SECONDS, MAX_CHUNKS, CookieAttributes

MAX_COOKIE_BYTES = 4093  # name, value and attributes: the least that any browser in use takes
_LONGEST_AGE = f"; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age={MAX_AGE_SECONDS}"
_NAME_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def cookie_attributes(
    name: str | None = None,
    *,
    path: str = "/",
    domain: str | None = None,
    secure: bool = True,
    samesite: str = "Lax",
    partitioned: bool = False,
) -> CookieAttributes:
    """Return the attributes of a session's cookies: always HttpOnly; Secure and SameSite=Lax by default.

    Without a name it is `__Host-gaesess`, which browsers take from this very host by HTTPS only (RFC 6265bis section
    4.1.3.2); with a domain or a path `__Secure-gaesess`, and without Secure `gaesess`. `partitioned` keeps the cookies
    that a site has when it is embedded in others apart for each of them
    (https://developer.mozilla.org/docs/Web/Privacy/Guides/Privacy_sandbox/Partitioned_cookies).

    Raises ValueError for what browsers would answer by dropping the cookie.
    """
    if name is None:
        name = "gaesess" if not secure else "__Host-gaesess" if path == "/" and domain is None else "__Secure-gaesess"
    for setting, is_valid, value, must_be in (
        ("cookie_name", _is_name, name, "a cookie's name, of letters, digits and !#$%&'*+-.^_`|~"),
        ("cookie_path", _is_path, path, "a path that begins with a slash and has no space or semicolon"),
        ("cookie_domain", _is_domain, domain, "None or a domain name"),
        ("cookie_samesite", lambda value: value in ("Lax", "Strict", "None"), samesite, '"Lax", "Strict" or "None"'),
    ):
        if not is_valid(value):
            raise ValueError(f"{setting} must be {must_be}, got {value!r}")
    name = str.__str__(name)  # the core takes no subclass, such as the member of an enum
    if "." in name and name.rpartition(".")[2].isdigit():
        raise ValueError(f"cookie_name {name!r} ends like the second chunk of another session's cookie")
    if samesite == "None" and not secure:
        raise ValueError('cookie_samesite="None" needs cookie_secure=True, or browsers drop the cookie')
    if partitioned and not secure:
        raise ValueError("cookie_partitioned=True needs cookie_secure=True, or browsers drop the cookie")
    host = name.lower().startswith("__host-")  # browsers match the prefixes of RFC 6265bis section 4.1.3 in any case
    if (host or name.lower().startswith("__secure-")) and not secure:
        raise ValueError(f"a cookie named {name!r} needs cookie_secure=True, or browsers drop it")
    if host and (path != "/" or domain is not None):
        raise ValueError(f'a cookie named {name!r} needs cookie_path="/" and no cookie_domain, or browsers drop it')
    place = f"; Path={path}" + (f"; Domain={domain}" if domain else "")
    rules = f"; HttpOnly; SameSite={samesite}" + ("; Partitioned" if partitioned else "")
    chunk_chars = MAX_COOKIE_BYTES - len(f"{name}.{MAX_CHUNKS - 1}={place}{_LONGEST_AGE}; Secure{rules}")
    if chunk_chars < 1000:
        raise ValueError("cookie_name, cookie_path and cookie_domain together leave no room for the session")
    return CookieAttributes(name, place, f"; Secure{rules}" if secure else rules, f"; Secure{rules}", chunk_chars)


def _is_name(value: object) -> bool:
    """Return whether a cookie may have this name (RFC 9110 section 5.6.2)."""
    return isinstance(value, str) and value != "" and not set(value) - _NAME_CHARACTERS


def _is_path(value: object) -> bool:
    """Return whether a cookie may have this path (RFC 6265bis).

    It has no controls and no semicolon (section 4.1.1), is no longer than browsers take (5.6), and has no spaces.
    """
    if not isinstance(value, str) or not value.startswith("/") or len(value) > 1024:
        return False
    return all("!" <= character <= "~" and character != ";" for character in value)


def _is_domain(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, str) or not value.isascii() or len(value) > 254:
        return False
    return all(label.replace("-", "a").isalnum() for label in value.removeprefix(".").split("."))
