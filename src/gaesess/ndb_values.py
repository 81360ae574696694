"""ndb keys and models as session values: their Datastore protobuf, as bytes.

Nothing is read from or written to Datastore, and no ndb context is needed. What makes entities of protobufs and back is
private to ndb (`_entity_to_ds_entity`, `_entity_from_ds_entity`, `Model._class_name`, `Model._lookup_model`,
`Key._key`, `Key._from_ds_key`); the tests of this module pin it down.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from google.cloud.datastore import helpers
from google.cloud.datastore_v1.types import Entity as EntityMessage
from google.cloud.datastore_v1.types import Key as KeyMessage
from google.cloud.ndb import Context, Expando, Key, KindError, Model, PickleProperty
from google.cloud.ndb.context import get_context
from google.cloud.ndb.model import _entity_from_ds_entity, _entity_to_ds_entity

NAIVE = 1  # mark of a datetime without zone; the `meaning` of values is free, for these never get to Datastore


def dump_key(key: Key) -> bytes:
    """Return a key, complete or partial, with its project, database and namespace, as bytes."""
    return _serialize(KeyMessage.pb(key._key.to_protobuf()))


def load_key(data: bytes) -> Key:
    """Return the key that `dump_key` was given."""
    ds_key = helpers.key_from_protobuf(KeyMessage.pb().FromString(data))  # type: ignore[no-untyped-call]
    return Key._from_ds_key(ds_key)


def dump_model(entity: Model) -> bytes:
    """Return an entity, with its key if it has one, as bytes. Equal entities give equal bytes.

    The entity is left as it is; properties with `auto_now` too. Raises TypeError for an entity that ndb would not give
    back equal (it restores no models within an Expando, and no keys of structured properties) or that has a
    PickleProperty, and ndb's BadValueError if a required property is not set.
    """
    _refuse_pickles(type(entity))
    name = type(entity).__name__
    try:
        data = _pack(_copy(entity))
        restored = load_model(data)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be a session value: {error}") from error
    if restored != entity:
        values = entity.to_dict()
        changed = [key for key, value in restored.to_dict().items() if key not in values or values[key] != value]
        raise TypeError(f"{name} cannot be a session value: ndb would restore it with other keys or values: {changed}")
    return data


def load_model(data: bytes) -> Model:
    """Return the entity that `dump_model` was given, of the class that has its kind now.

    Raises LookupError if no class with that kind, or that of a sub-entity, has been imported.
    """
    class_name, _, packed = data.partition(b"\0")
    message = EntityMessage.pb().FromString(packed)
    ds_entity = helpers.entity_from_protobuf(message)  # type: ignore[no-untyped-call]
    for name, value in message.properties.items():
        if value.meaning == NAIVE:
            ds_entity[name] = ds_entity[name].replace(tzinfo=None)
    try:
        model_class = Model._lookup_model(class_name.decode())
        _refuse_pickles(model_class)
        entity = _entity_from_ds_entity(ds_entity, model_class=model_class)
    except KindError as error:
        raise LookupError(f"the session holds an ndb entity whose class is not there: {error}") from error
    if isinstance(entity, Expando):
        for name, value in ds_entity.items():
            if value is None:
                setattr(entity, name, None)  # ndb leaves it out
    return entity


def _pack(entity: Model) -> bytes:
    """Return the name of the class, NUL, and the protobuf. Changes the entity."""
    entity.to_dict()  # works out the computed properties, which ndb leaves to put()
    with _plain_context():
        ds_entity = _entity_to_ds_entity(entity, set_key=entity.key is not None)
        message = EntityMessage.pb(helpers.entity_to_protobuf(ds_entity))  # type: ignore[no-untyped-call]
    for name, value in ds_entity.items():
        if isinstance(value, datetime) and value.tzinfo is None:
            message.properties[name].meaning = NAIVE
    return bytes(entity._class_name().encode() + b"\0" + _serialize(message))


def _copy(entity: Model) -> Model:
    """Return a copy to convert: ndb converts the values in their place, and some do not come back as they were."""
    copy = type(entity)()
    copy._key, copy._properties, copy._projection = entity._key, entity._properties, entity._projection
    copy._values = {name: _copy_value(value) for name, value in entity._values.items()}
    return copy


def _copy_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_copy_value(item) for item in value]
    return _copy(value) if isinstance(value, Model) else value


def _refuse_pickles(model_class: type[Model]) -> None:
    for prop in model_class._properties.values():
        if isinstance(prop, PickleProperty):
            raise TypeError(
                f"{model_class.__name__}.{prop._code_name} is a PickleProperty, and sessions hold no pickles: "
                "store the entity's key, or use a JsonProperty"
            )
        nested = getattr(prop, "_model_class", None)
        if nested is not None:
            _refuse_pickles(nested)


def _plain_context() -> AbstractContextManager[Any]:
    """The context ndb wants for an entity with structured properties, with its lossy form for the old ndb off."""
    outer = get_context(raise_context_error=False)
    if outer is None:
        outer = Context(SimpleNamespace(project="unknown", database=None, namespace=None))
    plain: AbstractContextManager[Any] = outer.new(legacy_data=False, cache=None).use()
    return plain


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
