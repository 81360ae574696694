"""Sessions of Flask's own signed cookie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha1
from typing import Any

from gaesess._core import BROWSER
from gaesess.errors import BadSignature, ExpiredToken
from gaesess.legacy.reader import OldSession, Reader


def flask(
    *,
    secret_key: str | bytes | Iterable[str] | Iterable[bytes],
    until: datetime,
    lifetime: timedelta = timedelta(days=31),
    cookie_name: str = "session",
    cookie_path: str = "/",
    cookie_domain: str | None = None,
) -> Reader:
    """Take over the sessions of Flask's own SecureCookieSessionInterface.

    - `secret_key`: SECRET_KEY; with SECRET_KEY_FALLBACKS a list that ends with it.
    - `until`: when to stop, with a time zone.
    - `lifetime`: PERMANENT_SESSION_LIFETIME, from the last change.
    - `cookie_name`, `cookie_path`, `cookie_domain`: as the settings that begin with SESSION_COOKIE are.

    Flask's sessions have no id, so none can be barred: a copy of an old cookie stays good for `lifetime`, or `until`.

    Raises ValueError for a time without a zone.
    """
    from flask.json.tag import TaggedJSONSerializer
    from itsdangerous import URLSafeTimedSerializer

    signing = {"key_derivation": "hmac", "digest_method": sha1}
    serializer = URLSafeTimedSerializer(secret_key, "cookie-session", TaggedJSONSerializer(), signer_kwargs=signing)
    return _Flask(serializer, lifetime, cookie_name, until, path=cookie_path, domain=cookie_domain)


class _Flask(Reader):
    def __init__(self, serializer: Any, lifetime: timedelta, *cookie: Any, **place: Any) -> None:
        super().__init__(*cookie, **place)
        self._serializer, self._lifetime = serializer, lifetime

    def find(self, cookies: Mapping[str, str], now: int) -> OldSession | None:
        from itsdangerous import BadData

        if self.cookie_name not in cookies:
            return None
        try:
            data, signed_at = self._serializer.loads(cookies[self.cookie_name], return_timestamp=True)
            flags = 0 if data.pop("_permanent", False) else BROWSER
        except (BadData, AttributeError, TypeError) as error:
            raise BadSignature(f"cookie of Flask is not to be believed: {type(error).__name__}") from None
        ends = int((signed_at + self._lifetime).timestamp())
        if ends <= now:
            raise ExpiredToken("cookie of Flask has expired")
        return OldSession(self, [self.cookie_name], flags, ends, None, lambda: data)
