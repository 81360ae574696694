"""The session managers of a Django process, made of its settings at their first use."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.http import HttpResponse
from django.utils.http import http_date

from gaesess._core import HEADER_BYTES, MAX_U32, TAG_BYTES
from gaesess.cookies import MAX_COOKIE_BYTES
from gaesess.manager import SessionManager, manager_from


@cache
def manager() -> SessionManager:
    """Return the manager with the settings in GAESESS. Raises ImproperlyConfigured if there is anything wrong."""
    return _configured(getattr(settings, "GAESESS", None))


@cache
def one_cookie_manager() -> SessionManager:
    """Return a manager whose sessions fit into the one cookie that Django's own middleware writes, or are stored.

    Raises ImproperlyConfigured.
    """
    room = min(manager().cookie.payload_limit(1), _room_in_djangos_cookie())
    wanted = settings.GAESESS.get("cookie_only_threshold")
    return _configured({**settings.GAESESS, "cookie_only_threshold": room if wanted is None else min(wanted, room)})


def _configured(gaesess: Any) -> SessionManager:
    try:
        return manager_from(gaesess, "GAESESS")
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from error


def _room_in_djangos_cookie() -> int:
    response = HttpResponse()
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        max_age=MAX_U32,
        expires=http_date(0),
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=settings.SESSION_COOKIE_HTTPONLY,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
    empty = response.cookies[settings.SESSION_COOKIE_NAME].OutputString()
    return (MAX_COOKIE_BYTES - len(empty)) * 3 // 4 - HEADER_BYTES - TAG_BYTES


def _forget(*, setting: str, **_: object) -> None:
    if setting == "GAESESS" or setting.startswith("SESSION_COOKIE_"):
        manager.cache_clear()
        one_cookie_manager.cache_clear()


setting_changed.connect(_forget)  # as by override_settings, in tests
