"""Makes the table of sessions."""

from __future__ import annotations

from django.db import migrations, models

from gaesess.django.database.models import KeyField


class Migration(migrations.Migration):
    initial = True
    operations = (
        migrations.CreateModel(
            name="SessionRecord",
            fields=[
                ("key", KeyField(max_length=42, primary_key=True, serialize=False)),
                (
                    "expires_at",
                    models.BigIntegerField(help_text="Unix seconds, from which on the record may be deleted"),
                ),
                ("version", models.BigIntegerField(help_text="the random id of the last write")),
                ("data", models.BinaryField()),
            ],
            options={
                "db_table": "gaesess_record",
                "default_permissions": (),
                "indexes": [models.Index(fields=["expires_at"], name="gaesess_record_by_expiry")],
            },
        ),
    )
