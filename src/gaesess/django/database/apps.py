"""What `INSTALLED_APPS = [..., "gaesess.django.database"]` adds: a table for sessions."""

from __future__ import annotations

from django.apps import AppConfig


class DatabaseConfig(AppConfig):
    """The application of the table; its label is "gaesess_database"."""

    name = "gaesess.django.database"
    label = "gaesess_database"
    verbose_name = "Sessions in the database"
