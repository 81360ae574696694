"""The settings of a Django project with users, messages and the admin; GAESESS is every test's own."""

import tempfile
from pathlib import Path

from gaesess import generate_key

DIRECTORY = tempfile.TemporaryDirectory()  # until the process ends

SECRET_KEY = "of Django itself"
GAESESS = {"cookie_key": generate_key()}
SESSION_COOKIE_NAME = "__Host-gaesess"
MIDDLEWARE = [
    "gaesess.django.DjangoSessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",  # for `manage.py clearsessions`
    "gaesess.django",
    "gaesess.django.database",
]
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "django_site"
USE_TZ = True
STATIC_URL = "/static/"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# A file, as other threads see it too.
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(DIRECTORY.name, "users.sqlite3")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a quick one
LOGGING_CONFIG = None  # what goes wrong on purpose is no news
