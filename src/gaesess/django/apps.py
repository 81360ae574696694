"""What `INSTALLED_APPS = [..., "gaesess.django"]` adds: the system checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

from gaesess.django.checks import check_settings


class GaesessConfig(AppConfig):
    """The application, which has no models (`gaesess.django.database` has); its label is "gaesess"."""

    name = "gaesess.django"
    label = "gaesess"

    def ready(self) -> None:
        checks.register(check_settings)
