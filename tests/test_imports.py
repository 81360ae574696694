"""Every module imports the frameworks that it is for, and no other."""

import pkgutil
import subprocess
import sys

import pytest

import gaesess

FRAMEWORKS = {
    "asgiref",
    "django",
    "flask",
    "google.appengine",
    "google.cloud",
    "grpc",
    "psycopg",
    "pymemcache",
    "pytest",
    "sqlalchemy",
    "starlette",
    "werkzeug",
}
NDB = {"google.cloud", "grpc", "pymemcache"}  # with what google-cloud-ndb imports itself
OWN = {
    "gaesess.django": {"asgiref", "django"},
    "gaesess.flask": {"flask", "werkzeug"},
    "gaesess.legacy.appengine": {"google.appengine"},
    "gaesess.legacy.datastore": NDB,
    "gaesess.ndb_values": NDB,
    "gaesess.stores._datastore_calls": NDB,
    "gaesess.stores._datastore_client": NDB,
    "gaesess.stores._postgres_calls": {"psycopg"},
    "gaesess.stores.appengine": {"google.appengine"},
    "gaesess.stores.datastore": NDB,
    "gaesess.stores.django": {"asgiref", "django"},
    "gaesess.stores.memcache": {"pymemcache"},
    "gaesess.stores.postgres": {"psycopg"},
    "gaesess.stores.sqlalchemy": {"sqlalchemy"},
    "gaesess.testing": {"pytest"},
}


UNIMPORTABLE = {
    "gaesess.__main__",  # a program
    "gaesess._speedups",  # what GAESESS_PURE=1 forbids
    "gaesess.django.database.migrations.0001_initial",  # no name that an `import` takes
    "gaesess.django.database.models",  # needs the settings of a project
}
MODULES = {found.name for found in pkgutil.walk_packages(gaesess.__path__, "gaesess.")} - UNIMPORTABLE


def of_package(name):
    """Return the names of a module and of all that are in it."""
    return {module for module in MODULES if f"{module}.".startswith(f"{name}.")}


def frameworks_of(modules):
    """Return what a new interpreter has imported once it has imported these modules."""
    program = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    return FRAMEWORKS & set(done.stdout.split())


def test_most_import_none():
    assert frameworks_of(MODULES.difference(*map(of_package, OWN))) == set()


@pytest.mark.parametrize("module", OWN)
def test_some_import_their_own(module):
    assert frameworks_of(of_package(module)) == OWN[module]


def test_a_manager_with_a_store_imports_neither_asyncio_nor_thread_pools():
    program = (
        "import sys\nfrom gaesess import SessionManager, generate_key\nfrom gaesess.stores.memory import MemoryStore\n"
        "SessionManager(generate_key(), store=MemoryStore())\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert {"asyncio", "concurrent.futures"}.isdisjoint(done.stdout.split())
