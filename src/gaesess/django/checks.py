"""System checks: `manage.py check` says what is wrong with the settings, and which of Django's do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from gaesess.config import DEFAULT_LIFETIME
from gaesess.django.managers import manager
from gaesess.django.middleware import DjangoSessionMiddleware
from gaesess.stores.django import APP, DjangoStore


def check_settings(**_: Any) -> list[CheckMessage]:
    """Return what is wrong with GAESESS, and what beside it."""
    try:
        cookie = manager().cookie.name
    except ImproperlyConfigured as error:
        hint = 'Write GAESESS = {"cookie_key": os.environ["COOKIE_KEY"]}, and what else SessionManager takes.'
        return [Error(str(error), hint=hint, id="gaesess.E001")]
    errors = list(_database_errors())
    found = list(_session_middleware())
    if not any(issubclass(kind, DjangoSessionMiddleware) for kind in found):
        return errors
    warnings: list[CheckMessage] = [
        Warning(f"{name} is not looked at by DjangoSessionMiddleware.", hint=hint, id="gaesess.W001")
        for name, hint in _set_in_vain()
    ]
    if len(found) > 1:
        text = "MIDDLEWARE has more than one session middleware, each with a request.session of its own."
        hint = "Leave only gaesess.django.DjangoSessionMiddleware."
        warnings.append(Warning(text, hint=hint, id="gaesess.W002"))
    if cookie != settings.SESSION_COOKIE_NAME:
        text = f"Django's error reports hide the cookie SESSION_COOKIE_NAME, and show the session's, {cookie!r}."
        hint = f'Write SESSION_COOKIE_NAME = "{cookie}"; the test client looks for the session there, too.'
        warnings.append(Warning(text, hint=hint, id="gaesess.W003"))
    return errors + warnings


def _database_errors() -> Iterator[CheckMessage]:
    """Find what a DjangoStore needs beside GAESESS; it may be the durable store of a TieredStore."""
    store = settings.GAESESS.get("store")
    store = getattr(store, "durable", store)
    if not isinstance(store, DjangoStore):
        return
    if store.alias not in settings.DATABASES:
        text = f"DjangoStore({store.alias!r}) is for a database that is not in DATABASES."
        hint = f"DATABASES has {', '.join(map(repr, settings.DATABASES))}."
        yield Error(text, hint=hint, id="gaesess.E002")
    if not apps.is_installed(APP):
        text = f"DjangoStore needs {APP!r} in INSTALLED_APPS, which has its table."
        yield Error(text, hint="Add it, and run `python manage.py migrate`.", id="gaesess.E003")


def _session_middleware() -> Iterator[type[SessionMiddleware]]:
    for path in settings.MIDDLEWARE:
        with suppress(ImportError):  # of which Django itself tells
            kind = import_string(path)
            if isinstance(kind, type) and issubclass(kind, SessionMiddleware):
                yield kind


def _set_in_vain() -> Iterator[tuple[str, str]]:
    """Find settings of Django's that say something else than GAESESS, and what to write there for each."""
    with_browser = settings.SESSION_EXPIRE_AT_BROWSER_CLOSE
    age_name = "SESSION_EXPIRE_AT_BROWSER_CLOSE" if with_browser else "SESSION_COOKIE_AGE"
    age = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    idle = age if settings.SESSION_SAVE_EVERY_REQUEST else settings.GAESESS.get("idle_timeout")
    for name, ours, meant, default in (
        (age_name, "lifetime", timedelta(0) if with_browser else age, DEFAULT_LIFETIME),
        ("SESSION_SAVE_EVERY_REQUEST", "idle_timeout", idle, None),
        ("SESSION_COOKIE_PATH", "cookie_path", settings.SESSION_COOKIE_PATH, "/"),
        ("SESSION_COOKIE_DOMAIN", "cookie_domain", settings.SESSION_COOKIE_DOMAIN, None),
        ("SESSION_COOKIE_SECURE", "cookie_secure", settings.SESSION_COOKIE_SECURE, True),
        ("SESSION_COOKIE_SAMESITE", "cookie_samesite", settings.SESSION_COOKIE_SAMESITE, "Lax"),
    ):
        if settings.is_overridden(name) and settings.GAESESS.get(ours, default) != meant:
            yield name, f'Write "{ours}": {meant!r} in GAESESS, or take {name} out.'
