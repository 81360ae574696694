"""ndb keys and models as session values: what goes in comes out, or is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import ndb
from google.cloud.ndb.model import User
from hypothesis import given
from hypothesis import strategies as st
from vectors.ndb_names import key

from gaesess.ndb_values import dump_key, dump_model, load_key, load_model

BERLIN = timezone(timedelta(hours=2))


class Address(ndb.Model):
    city = ndb.StringProperty()
    zip_code = ndb.IntegerProperty(name="zip")


class Company(ndb.Model):
    name = ndb.StringProperty()
    address = ndb.StructuredProperty(Address)


class Account(ndb.Model):
    name = ndb.StringProperty(name="n")
    age = ndb.IntegerProperty(default=18)
    score = ndb.FloatProperty()
    admin = ndb.BooleanProperty()
    tags = ndb.StringProperty(repeated=True)
    joined = ndb.DateTimeProperty()
    joined_there = ndb.DateTimeProperty(tzinfo=BERLIN)
    born = ndb.DateProperty()
    wakes = ndb.TimeProperty()
    settings = ndb.JsonProperty()
    packed_settings = ndb.JsonProperty(compressed=True)
    bio = ndb.TextProperty()
    packed_bio = ndb.TextProperty(compressed=True)
    photo = ndb.BlobProperty()
    packed_photo = ndb.BlobProperty(compressed=True)
    place = ndb.GeoPtProperty()
    user = ndb.UserProperty()
    friend = ndb.KeyProperty()
    anything = ndb.GenericProperty()
    address = ndb.StructuredProperty(Address)
    addresses = ndb.StructuredProperty(Address, repeated=True)
    company = ndb.StructuredProperty(Company)
    local = ndb.LocalStructuredProperty(Address)
    locals_ = ndb.LocalStructuredProperty(Address, repeated=True)
    packed_local = ndb.LocalStructuredProperty(Address, compressed=True)
    keyed_local = ndb.LocalStructuredProperty(Address, keep_keys=True)
    next_age = ndb.ComputedProperty(lambda self: (self.age or 0) + 1)


class Stamped(ndb.Model):
    changed = ndb.DateTimeProperty(auto_now=True)


class Strict(ndb.Model):
    name = ndb.StringProperty(required=True)


class OtherKind(ndb.Model):
    name = ndb.StringProperty()

    @classmethod
    def _get_kind(cls) -> str:
        return "StoredUnderAnotherName"


class Loose(ndb.Expando):
    name = ndb.StringProperty()


class Animal(ndb.PolyModel):
    legs = ndb.IntegerProperty()


class Dog(Animal):
    tricks = ndb.StringProperty(repeated=True)


class Kennel(ndb.Model):
    dogs = ndb.LocalStructuredProperty(Animal, repeated=True)
    boss = ndb.StructuredProperty(Animal)


class Pickled(ndb.Model):
    anything = ndb.PickleProperty()


class PickledWithin(ndb.Model):
    pickled = ndb.StructuredProperty(Pickled)


@pytest.fixture(params=["no context", "legacy data", "no legacy data"])
def _context(request: pytest.FixtureRequest) -> Iterator[None]:
    """The surroundings in which a session may be saved."""
    if request.param == "no context":
        yield
        return
    client = ndb.Client(project="project", credentials=AnonymousCredentials())
    with client.context(legacy_data=request.param == "legacy data"):
        yield
    client.stub.close()


ENTITIES: dict[str, Callable[[], ndb.Model]] = {
    "nothing set": Account,
    "all None": lambda: Account(age=None, name=None, tags=[], settings=None),
    "scalars": lambda: Account(name="Ann", age=2**62, score=-0.5, admin=False),
    "repeated": lambda: Account(tags=["b", "a", "", "b"]),
    "times": lambda: Account(
        joined=datetime(2026, 1, 2, 3, 4, 5, 678901),
        joined_there=datetime(2026, 1, 2, tzinfo=BERLIN),
        born=date(1901, 2, 3),
        wakes=time(6, 30, 0, 1),
    ),
    "json": lambda: Account(settings={"b": [1, {"a": None}], "a": "é"}, packed_settings=[1.5, True]),
    "text and bytes": lambda: Account(bio="é" * 3000, packed_bio="x" * 99, photo=b"\0\xff", packed_photo=b"\0" * 999),
    "place and user": lambda: Account(place=ndb.GeoPt(52.5, 13.4), user=User("ann@example.com", "example.com")),
    "key property": lambda: Account(friend=key("Account", 7, namespace="n", database="d")),
    "generic": lambda: Account(anything="text"),
    "generic time": lambda: Account(anything=datetime(2026, 1, 2, 3, 4, 5, 6)),
    "structured": lambda: Account(address=Address(city="Ulm", zip_code=89073)),
    "repeated structured": lambda: Account(addresses=[Address(city="Ulm"), Address(), Address(zip_code=1)]),
    "structured in structured": lambda: Account(company=Company(name="C", address=Address(city="Ulm"))),
    "local structured": lambda: Account(local=Address(city="Ulm"), locals_=[Address(), Address(zip_code=1)]),
    "compressed structured": lambda: Account(packed_local=Address(city="Ulm")),
    "structured with its key": lambda: Account(keyed_local=Address(city="Ulm", key=key("Address", "ulm"))),
    "key": lambda: Account(key=key("Account", 1)),
    "partial key": lambda: Account(key=key("Account", None)),
    "whole key": lambda: Account(key=key("Company", "c", "Account", "a", namespace="n", database="d"), age=3),
    "renamed kind": lambda: OtherKind(name="x"),
    "renamed kind with a key": lambda: OtherKind(name="x", key=key("StoredUnderAnotherName", 1)),
    "expando": lambda: Loose(name="x", text="t", number=1, share=0.5, yes=True, data=b"d", nothing=None),
    "expando lists": lambda: Loose(numbers=[1, 2], empty=[]),
    "expando times": lambda: Loose(naive=datetime(2026, 1, 2), aware=datetime(2026, 1, 2, tzinfo=timezone.utc)),
    "expando with a key": lambda: Loose(key=key("Loose", 1), text="t"),
    "polymodel": lambda: Dog(legs=4, tricks=["sit"]),
    "polymodel's root": lambda: Animal(legs=4),
    "polymodel with a key": lambda: Dog(key=key("Animal", 1), legs=4),
    "polymodels within": lambda: Kennel(dogs=[Dog(legs=3), Animal(legs=6)]),
}


@pytest.mark.usefixtures("_context")
@pytest.mark.parametrize("make", ENTITIES.values(), ids=ENTITIES)
def test_an_entity_comes_back_equal_and_of_its_class(make: Callable[[], ndb.Model]) -> None:
    entity = make()
    restored = load_model(dump_model(entity))
    assert restored == make()
    assert type(restored) is type(entity)


@pytest.mark.usefixtures("_context")
@pytest.mark.parametrize("make", ENTITIES.values(), ids=ENTITIES)
def test_a_dump_leaves_the_entity_as_it_was(make: Callable[[], ndb.Model]) -> None:
    entity = make()
    dump_model(entity)
    assert entity == make()


@pytest.mark.usefixtures("_context")
@pytest.mark.parametrize("make", ENTITIES.values(), ids=ENTITIES)
def test_a_restored_entity_dumps_to_the_same_bytes_read_or_not(make: Callable[[], ndb.Model]) -> None:
    """Else a session would be written anew whenever it is read."""
    data = dump_model(make())
    restored = load_model(data)
    assert dump_model(restored) == data
    restored.to_dict()
    assert dump_model(restored) == data


def test_the_bytes_are_the_same_within_a_context_and_without() -> None:
    account = Account(address=Address(city="Ulm"), addresses=[Address(), Address(zip_code=1)], local=Address())
    without = dump_model(account)
    client = ndb.Client(project="project", credentials=AnonymousCredentials())
    with client.context():
        assert dump_model(account) == without
    client.stub.close()


def test_a_sub_entity_that_the_application_holds_stays_the_entitys_own() -> None:
    account = Account(company=Company(address=Address(city="Ulm")))
    address = account.company.address
    dump_model(account)
    address.city = "Bonn"
    assert load_model(dump_model(account)).company.address.city == "Bonn"


def test_a_dump_does_not_set_the_time_of_the_last_put() -> None:
    assert load_model(dump_model(Stamped())).changed is None


def test_a_restored_entity_can_be_changed_and_dumped_again() -> None:
    account = load_model(dump_model(Account(name="Ann", settings={"a": 1}, address=Address(city="Ulm"))))
    account.settings["a"] = 2
    account.address.city = "Bonn"
    assert load_model(dump_model(account)) == Account(name="Ann", settings={"a": 2}, address=Address(city="Bonn"))


def test_a_property_that_its_class_has_no_more_is_left_out() -> None:
    data = dump_model(Loose(name="x", gone="y"))
    assert load_model(data.replace(b"Loose\0", b"Company\0")) == Company(name="x")


def test_a_property_that_its_class_has_got_since_has_its_default() -> None:
    data = dump_model(Loose(name="x"))
    assert load_model(data.replace(b"Loose\0", b"Account\0")).age == 18


text = st.text(st.characters(codec="utf-8"), max_size=20)
moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | text | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
addresses = st.builds(Address, city=st.none() | text, zip_code=st.none() | st.integers(-(2**63), 2**63 - 1))
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
pairs = st.tuples(names, st.integers(1, 2**63 - 1) | names)
keys = st.builds(
    lambda path, namespace, database: key(
        *(part for pair in path for part in pair), namespace=namespace, database=database
    ),
    st.lists(pairs, min_size=1, max_size=4),
    st.none() | names,
    st.none() | names,
)
accounts = st.builds(
    Account,
    name=st.none() | text,
    age=st.none() | st.integers(-(2**63), 2**63 - 2),  # next_age is one more
    score=st.none() | st.floats(allow_nan=False),
    admin=st.none() | st.booleans(),
    tags=st.lists(text, max_size=4),
    joined=st.none() | moments,
    born=st.none() | st.dates(date(1, 1, 1)),
    wakes=st.none() | st.times(),
    settings=json_values,
    bio=st.none() | text,
    photo=st.none() | st.binary(max_size=20),
    packed_photo=st.none() | st.binary(max_size=20),
    friend=st.none() | keys,
    address=st.none() | addresses,
    addresses=st.lists(addresses, max_size=3),
    locals_=st.lists(addresses, max_size=3),
)


@given(accounts)
def test_any_entity_comes_back_equal(account: Account) -> None:
    assert load_model(dump_model(account)) == account


@given(keys)
def test_any_key_comes_back_equal(original: ndb.Key) -> None:
    restored = load_key(dump_key(original))
    assert restored == original
    assert type(restored) is ndb.Key


@pytest.mark.usefixtures("_context")
def test_a_key_keeps_its_project_namespace_and_database() -> None:
    restored = load_key(dump_key(key("A", 1, "B", "b", namespace="n", database="d")))
    assert (restored.project(), restored.namespace(), restored.database()) == ("project", "n", "d")


@pytest.mark.usefixtures("_context")
def test_a_partial_key_comes_back_partial() -> None:
    restored = load_key(dump_key(key("A", 1, "B", None)))
    assert restored.pairs() == (("A", 1), ("B", None))


REFUSED: dict[str, Callable[[], ndb.Model]] = {
    "model in an expando": lambda: Loose(address=Address(city="Ulm")),
    "models in an expando": lambda: Loose(addresses=[Address(city="Ulm")]),
    "dict in an expando": lambda: Loose(address={"city": "Ulm"}),
    "date in an expando": lambda: Loose(born=date(1901, 2, 3)),
    "None in a list of an expando": lambda: Loose(numbers=[1, None]),
    "key in an expando": lambda: Loose(friend=key("Account", 1)),
    "key of a structured property": lambda: Account(address=Address(key=key("Address", 1))),
    "missing key of a property that keeps keys": lambda: Account(keyed_local=Address(city="Ulm")),
    "subclass in a structured property": lambda: Kennel(boss=Dog(legs=4)),
}


@pytest.mark.usefixtures("_context")
@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_ndb_would_not_restore_is_refused(make: Callable[[], ndb.Model]) -> None:
    entity = make()
    with pytest.raises(TypeError, match=f"{type(entity).__name__} cannot be a session value"):
        dump_model(entity)


def test_a_refusal_names_the_property() -> None:
    with pytest.raises(TypeError, match=r"\['friend'\]"):
        dump_model(Loose(name="x", friend=key("Account", 1)))


@pytest.mark.parametrize("entity", [Pickled(anything=1), PickledWithin()])
def test_a_model_with_pickles_is_refused(entity: ndb.Model) -> None:
    with pytest.raises(TypeError, match=r"Pickled\.anything is a PickleProperty"):
        dump_model(entity)


def test_a_class_that_got_a_pickle_since_is_refused() -> None:
    data = dump_model(Loose(anything=b"cos\nsystem\n(S'true'\ntR."))
    with pytest.raises(TypeError, match=r"Pickled\.anything is a PickleProperty"):
        load_model(data.replace(b"Loose\0", b"Pickled\0"))


def test_a_required_property_that_is_not_set_is_ndbs_error() -> None:
    with pytest.raises(ndb.exceptions.BadValueError, match="name"):
        dump_model(Strict())


def test_a_class_that_is_not_imported_is_a_lookup_error_that_names_its_kind() -> None:
    data = dump_model(Company(name="x"))
    program = "import sys; from gaesess.ndb_values import load_model; load_model(sys.stdin.buffer.read())"
    result = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=False)
    assert b"LookupError" in result.stderr
    assert b"'Company'" in result.stderr
