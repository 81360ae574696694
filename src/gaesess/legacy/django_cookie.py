"""Sessions of Django's engine `django.contrib.sessions.backends.signed_cookies`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from gaesess._core import BROWSER
from gaesess.errors import BadSignature, ExpiredToken
from gaesess.legacy.reader import OldSession, Reader


def django(
    *,
    secret_key: str | bytes,
    until: datetime,
    fallback_keys: Iterable[str | bytes] = (),
    lifetime: timedelta = timedelta(days=14),
    cookie_name: str = "sessionid",
    cookie_path: str = "/",
    cookie_domain: str | None = None,
) -> Reader:
    """Take over the sessions of Django's signed cookies, if they are JSON: pickles are not read.

    - `secret_key`, `fallback_keys`: SECRET_KEY, SECRET_KEY_FALLBACKS.
    - `until`: when to stop, with a time zone.
    - `lifetime`: SESSION_COOKIE_AGE, from the last change.
    - `cookie_name`, `cookie_path`, `cookie_domain`: as the settings that begin with SESSION_COOKIE are.

    These sessions have no id, so none can be barred: a copy of an old cookie stays good for `lifetime`, or `until`.

    Raises ValueError for a time without a zone.
    """
    from django.core.signing import TimestampSigner

    salt = "django.contrib.sessions.backends.signed_cookies"
    signer = TimestampSigner(key=secret_key, salt=salt, fallback_keys=[*fallback_keys])
    return _Django(signer, lifetime, cookie_name, until, path=cookie_path, domain=cookie_domain)


class _Django(Reader):
    def __init__(self, signer: Any, lifetime: timedelta, *cookie: Any, **place: Any) -> None:
        super().__init__(*cookie, **place)
        self._signer, self._seconds = signer, int(lifetime.total_seconds())

    def find(self, cookies: Mapping[str, str], now: int) -> OldSession | None:
        from django.core import signing

        if not (cookie := cookies.get(self.cookie_name)):
            return None
        try:
            data = self._signer.unsign_object(cookie)
            signed_at = signing.b62_decode(cookie.split(":")[-2])
            expiry = data.pop("_session_expiry", None)  # by set_expiry: seconds, or a time in ISO 8601
            age = datetime.fromisoformat(expiry).timestamp() - signed_at if isinstance(expiry, str) else expiry
            ends = signed_at + int(min(age or self._seconds, self._seconds))
        except (signing.BadSignature, AttributeError, LookupError, TypeError, ValueError, zlib.error) as error:
            raise BadSignature(f"cookie of Django is not to be believed: {type(error).__name__}") from None
        if ends <= now:
            raise ExpiredToken("cookie of Django has expired")
        return OldSession(self, [self.cookie_name], BROWSER if expiry == 0 else 0, ends, None, lambda: data)
