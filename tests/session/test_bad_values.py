"""What a session cannot hold: the error says where in the session it is, and the session can be mended and saved."""

from collections import OrderedDict, namedtuple
from enum import IntEnum

import pytest

from gaesess import register, values

BIG = "x" * 5000  # more than one cookie holds
STORED = {"cookie_only_threshold": 0}


class Price:
    """A type that nobody has registered."""


class Text(str):
    __slots__ = ()


class Colour(IntEnum):
    RED = 1


class Order:
    """A type that is registered, and holds what may be bad."""

    def __init__(self, price):
        self.price = price

    def __hash__(self):
        return 1


Point = namedtuple("Point", "x y")


@pytest.fixture(autouse=True)
def _types(monkeypatch):
    monkeypatch.setattr(values, "_TYPES", dict(values._TYPES))
    monkeypatch.setattr(values, "_REGISTERED_LOADERS", {})
    register(Order, "order", lambda order: {"price": order.price}, lambda data: Order(data["price"]))


def put(session, value):
    session["form"] = value


def put_later(session, value):
    session["form"] = {"rows": []}
    session["form"]["rows"].append(value)


def update(session, value):
    session.update(a=1, form=value)


def append(session, value):
    session.append("form", value)


def set_quick(session, value):
    session.set_quick("form", value)


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


PRICE = "values of type test_bad_values.Price are not supported"
WHERE = {
    "['form']": (put, Price()),
    "['form']['rows'][1]['price']": (put, {"rows": [1, {"price": Price()}]}),
    "['form']['rows'][0]['price']": (put_later, {"price": Price()}),
    "['form'][1][0]": (put, (1, (Price(), 2))),
    "['form'][2]": (append, Price()),
    "['form'][2]['price']": (append, {"price": Price()}),
    "['form'][('a', 1)][-1]": (put, {("a", 1): {-1: Price()}}),
    "['form']['tags']": (put, {"tags": {Price()}}),  # no path leads into a set
    "['form']['order']": (put, {"order": Order(Price())}),  # nor into a value of another type
}


@pytest.fixture(params=[{"store": None}, {}, STORED], ids=["cookie", "cookie, and a store", "store"])
def session(request, make_manager):
    session = make_manager(**request.param).open(None)
    session["form"] = [1, 2]
    session.save()
    return session


@pytest.mark.parametrize("method", ["save", "commit"])
@pytest.mark.parametrize("path", WHERE)
def test_the_whole_path_of_a_value_is_named(session, path, method):
    put, value = WHERE[path]
    put(session, value)
    with pytest.raises(TypeError) as raised:
        getattr(session, method)()
    assert str(raised.value).startswith(f"session{path}: {PRICE}")


@pytest.mark.parametrize("change", [put, put_later, update, append, set_quick])
def test_every_way_of_writing_it_is_found_at_the_save(session, change):
    change(session, Price())
    with pytest.raises(TypeError, match=r"^session\['form'\].*Price"):
        session.commit()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Text("a"), "test_bad_values.Text"),
        (Colour.RED, "test_bad_values.Colour"),
        (Point(1, 2), "test_bad_values.Point"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (bytearray(b"a"), "bytearray"),
        (memoryview(b"a"), "memoryview"),
        (range(3), "range"),
        ((number for number in ()), "generator"),
        (lambda: None, "function"),
        (Price, "type"),
        (NotImplemented, "NotImplementedType"),
        ({}.keys(), "dict_keys"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_type_of_the_value_is_named(session, value, name):
    session["form"] = {"rows": [value]}
    with pytest.raises(TypeError) as raised:
        session.commit()
    assert str(raised.value).startswith(f"session['form']['rows'][0]: values of type {name} are not supported")


def test_another_session_is_no_value(session, make_manager):
    session["form"] = make_manager().open(None)
    with pytest.raises(TypeError, match=r"^session\['form'\]: values of type gaesess\.session\.Session are"):
        session.commit()


@pytest.mark.parametrize("key", [Price(), Text("a"), ("a", Price())], ids=["object", "str subclass", "in a tuple"])
def test_a_key_is_named_that_no_session_can_hold(session, key):
    session[key] = 1
    with pytest.raises(TypeError) as raised:
        session.commit()
    assert str(raised.value).startswith(f"session[{key!r}]: values of type test_bad_values.")


def test_a_key_inside_a_value_is_named(session):
    session["form"] = {"rows": {Price(): 1}}
    with pytest.raises(TypeError, match=r"^session\['form'\]\['rows'\].*Price"):
        session.commit()


def test_of_several_values_the_first_is_named(session):
    session.update(form=1, a=[1, Price()], b=Price())
    with pytest.raises(TypeError, match=r"^session\['a'\]\[1\]"):
        session.commit()


@pytest.mark.parametrize("levels", [63, 1000])
def test_what_is_nested_too_deeply_is_named_by_its_key(session, levels):
    session["form"] = deep(levels)
    with pytest.raises(ValueError, match=r"^session\['form'\]: nested deeper than 64 levels"):
        session.commit()


def test_a_value_that_holds_itself_is_named_by_its_key(session):
    rows = []
    rows.append(rows)
    session["form"] = rows
    with pytest.raises(ValueError, match=r"^session\['form'\]: nested deeper than 64 levels"):
        session.commit()


def test_what_a_registered_type_raises_itself_keeps_its_cause(session, monkeypatch):
    class Broken:
        pass

    def dump(value):
        raise TypeError("it has no currency")

    register(Broken, "broken", dump, lambda packed: Broken())
    session["form"] = [Broken()]
    with pytest.raises(TypeError, match=r"^session\['form'\]\[0\]: it has no currency$") as raised:
        session.commit()
    assert str(raised.value.__cause__) == "it has no currency"


@pytest.mark.parametrize("error", [KeyError("currency"), RuntimeError("no currency"), OSError("no disk")], ids=repr)
def test_another_error_of_a_registered_type_is_its_own(session, error):
    class Broken:
        pass

    def dump(value):
        raise error

    register(Broken, "broken", dump, lambda packed: Broken())
    session["form"] = [Broken()]
    with pytest.raises(type(error)) as raised:
        session.commit()
    assert raised.value is error


@pytest.mark.parametrize("method", ["save", "commit"])
def test_a_session_that_could_not_be_saved_can_be_mended_and_saved(session, method):
    session["form"] = {"rows": [Price()]}
    with pytest.raises(TypeError):
        getattr(session, method)()
    session["form"]["rows"][0] = 5
    (line,) = session.commit()
    assert dict(session.manager.open(line.partition(";")[0])) == {"form": {"rows": [5]}}


def test_what_could_not_be_saved_leaves_what_was(session):
    (line,) = session._cookies
    session["form"] = Price()
    with pytest.raises(TypeError):
        session.commit()
    assert dict(session.manager.open(line.partition(";")[0])) == {"form": [1, 2]}


@pytest.mark.parametrize("value", ["a", 1, None, b"a", [1], (1,), {1}, {"a": 1}, 10**30, 1.5, Order(5)], ids=repr)
def test_a_value_that_a_session_can_hold_is_no_error(session, value):
    session["form"] = {"rows": [value]}
    assert session.commit()
