"""Models for the vectors of ndb values."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

from google.cloud import ndb


class VectorAddress(ndb.Model):
    city = ndb.StringProperty()
    zip_code = ndb.IntegerProperty(name="zip")


class VectorCity(ndb.Model):
    name = ndb.StringProperty()


class VectorAccount(ndb.Model):
    name = ndb.StringProperty(name="n")
    age = ndb.IntegerProperty(default=18)
    score = ndb.FloatProperty()
    admin = ndb.BooleanProperty()
    tags = ndb.StringProperty(repeated=True)
    joined = ndb.DateTimeProperty()
    joined_there = ndb.DateTimeProperty(tzinfo=timezone(timedelta(hours=2)))
    born = ndb.DateProperty()
    wakes = ndb.TimeProperty()
    settings = ndb.JsonProperty()
    bio = ndb.TextProperty()
    photo = ndb.BlobProperty()
    place = ndb.GeoPtProperty()
    friend = ndb.KeyProperty()
    anything = ndb.GenericProperty()
    address = ndb.StructuredProperty(VectorAddress)
    addresses = ndb.StructuredProperty(VectorAddress, repeated=True)
    local = ndb.LocalStructuredProperty(VectorCity)  # of one property: in what order ndb packs several is chance
    next_age = ndb.ComputedProperty(lambda self: (self.age or 0) + 1)


class VectorLoose(ndb.Expando):
    name = ndb.StringProperty()


class VectorAnimal(ndb.PolyModel):
    legs = ndb.IntegerProperty()


class VectorDog(VectorAnimal):
    tricks = ndb.StringProperty(repeated=True)


class VectorRenamed(ndb.Model):
    name = ndb.StringProperty()

    @classmethod
    def _get_kind(cls) -> str:
        return "VectorOfAnotherName"


class VectorPickled(ndb.Model):
    anything = ndb.PickleProperty()


def key(*path: Any, namespace: str | None = None, database: str | None = None) -> ndb.Key:
    return ndb.Key(*path, project="project", namespace=namespace, database=database)


MODELS = (VectorAddress, VectorCity, VectorAccount, VectorLoose, VectorAnimal, VectorDog, VectorRenamed, VectorPickled)
NDB_NAMES = {"ndb": ndb, "key": key, **{model.__name__: model for model in MODELS}}
