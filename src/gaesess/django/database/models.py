"""The table of `DjangoStore`, for Django's migrations; the store itself uses SQL."""

from __future__ import annotations

from typing import Any

from django.db import models

BYTEWISE = {"mysql": "ascii_bin", "postgresql": "C"}  # collations that compare bytes; SQLite's default one does


class KeyField(models.CharField):  # type: ignore[type-arg]  # Django 4.2 has a class without parameters
    """A string of ASCII characters that the database compares byte by byte."""

    def db_type(self, connection: Any) -> str | None:
        if connection.vendor == "postgresql":  # by this name Django makes no second index, for LIKE
            return f"character varying({self.max_length})"
        return super().db_type(connection)

    def db_parameters(self, connection: Any) -> dict[str, Any]:
        parameters: dict[str, Any] = {**super().db_parameters(connection)}
        return {**parameters, "collation": BYTEWISE.get(connection.vendor)}


class SessionRecord(models.Model):
    """A sealed record; what `DjangoStore` keeps."""

    key = KeyField(primary_key=True, max_length=42)
    expires_at: models.BigIntegerField[int, int] = models.BigIntegerField(
        help_text="Unix seconds, from which on the record may be deleted"
    )
    version: models.BigIntegerField[int, int] = models.BigIntegerField(help_text="the random id of the last write")
    data: models.BinaryField[bytes, bytes] = models.BinaryField()

    class Meta:
        db_table = "gaesess_record"
        default_permissions = ()
        indexes = (models.Index(fields=["expires_at"], name="gaesess_record_by_expiry"),)
