"""`manage.py check` says what is wrong with the settings, and what is set in vain."""

from datetime import timedelta

import pytest
from django.core.checks import run_checks
from django.test import RequestFactory, override_settings
from django.views.debug import SafeExceptionReporterFilter
from django_settings import MIDDLEWARE

from gaesess import generate_key

DJANGOS_OWN = "django.contrib.sessions.middleware.SessionMiddleware"


def found():
    return [message for message in run_checks() if message.id.startswith("gaesess.")]


def test_good_settings_are_not_remarked_on_nor_does_the_admin_miss_a_middleware(site):
    assert run_checks() == []


@pytest.mark.parametrize(
    ("gaesess", "text"),
    [
        (None, "GAESESS must be a dictionary"),
        ({}, "cookie_key is missing"),
        ({"cookie_key": "short"}, "cookie_key has 5 bytes, and needs at least 32"),
        ({"cookie_key": generate_key(), "cookie_nam": "x"}, "did you mean 'cookie_name'?"),
        ({"cookie_key": generate_key(), "cookie_samesite": "None", "cookie_secure": False}, "needs cookie_secure=True"),
    ],
)
def test_bad_settings_are_errors(gaesess, text):
    with override_settings(GAESESS=gaesess):
        [error] = found()
    assert (error.id, error.is_serious()) == ("gaesess.E001", True)
    assert text in error.msg
    assert "GAESESS = {" in error.hint


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("SESSION_COOKIE_AGE", 3600, 'Write "lifetime": datetime.timedelta(seconds=3600) in GAESESS'),
        ("SESSION_EXPIRE_AT_BROWSER_CLOSE", True, 'Write "lifetime": datetime.timedelta(0) in GAESESS'),
        ("SESSION_SAVE_EVERY_REQUEST", True, 'Write "idle_timeout": datetime.timedelta(days=14) in GAESESS'),
        ("SESSION_COOKIE_PATH", "/app", "Write \"cookie_path\": '/app' in GAESESS"),
        ("SESSION_COOKIE_DOMAIN", "example.com", "Write \"cookie_domain\": 'example.com' in GAESESS"),
        ("SESSION_COOKIE_SECURE", False, 'Write "cookie_secure": False in GAESESS'),
        ("SESSION_COOKIE_SAMESITE", "Strict", "Write \"cookie_samesite\": 'Strict' in GAESESS"),
    ],
)
def test_a_setting_of_djangos_is_set_in_vain(site, name, value, hint):
    with override_settings(**{name: value}):
        [warning] = found()
    assert (warning.id, warning.is_serious()) == ("gaesess.W001", False)
    assert warning.msg == f"{name} is not looked at by DjangoSessionMiddleware."
    assert warning.hint == f"{hint}, or take {name} out."


def test_a_setting_of_djangos_that_says_the_same_is_not_in_vain(site):
    site.gaesess |= {"lifetime": timedelta(hours=1), "idle_timeout": timedelta(minutes=10)}
    same = {"SESSION_COOKIE_AGE": 3600, "SESSION_COOKIE_SECURE": True, "SESSION_SAVE_EVERY_REQUEST": False}
    with site.settings(**same):
        assert found() == []


def test_djangos_settings_are_djangos_under_its_own_middleware(site):
    with override_settings(MIDDLEWARE=[DJANGOS_OWN, *MIDDLEWARE[1:]], SESSION_COOKIE_NAME="id", SESSION_COOKIE_AGE=60):
        assert found() == []


def test_two_session_middlewares_are_one_too_many(site):
    with override_settings(MIDDLEWARE=[DJANGOS_OWN, *MIDDLEWARE]):
        [warning] = found()
    assert warning.id == "gaesess.W002"


@pytest.mark.parametrize(("name", "ids"), [("__Host-gaesess", []), ("sessionid", ["gaesess.W003"])])
def test_error_reports_show_the_cookie_unless_django_knows_its_name(site, name, ids):
    request = RequestFactory().get("/")
    request.COOKIES["__Host-gaesess"] = "a secret"
    with override_settings(SESSION_COOKIE_NAME=name):
        assert [warning.id for warning in found()] == ids
        shown = SafeExceptionReporterFilter().get_safe_cookies(request)["__Host-gaesess"]
    assert (shown == "a secret") is bool(ids)
