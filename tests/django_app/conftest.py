import os

import django
import pytest
from django.core.management import call_command
from django.db import connections


def pytest_configure():
    os.environ["DJANGO_SETTINGS_MODULE"] = "django_settings"
    django.setup()  # before the tests are imported


@pytest.fixture
def site():
    from django_site import Site

    site = Site()
    with site.settings():
        yield site


@pytest.fixture(scope="session")
def database():
    """The tables of Django's users."""
    call_command("migrate", verbosity=0)
    yield
    connections.close_all()


@pytest.fixture
def user(database):
    """A user who may enter the admin; the password is "secret"."""
    from django.contrib.auth.models import User

    made = User.objects.create_superuser("ada", password="secret")
    yield made
    made.delete()
