"""What a dictionary does, for comparing sessions with one: functions of a mapping that has a, b and c."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

DATA = {"a": 1, "b": 2, "c": [3]}


def copied(mapping: Any) -> object:
    copy = mapping.copy()
    copy["new"] = 1
    copy["c"].append(4)  # the values are the same
    return type(copy), copy, "new" in mapping, mapping["c"]


def united(mapping: Any) -> object:
    return mapping | {"b": 9, "z": 26}, items(mapping)


def united_from_the_right(mapping: Any) -> object:
    return {"z": 26, "b": 9} | mapping, items(mapping)


def updated_in_place(mapping: Any) -> object:
    same = mapping
    same |= {"b": 9, "z": 26}
    same |= [("y", 25)]
    same |= mapping
    return same is mapping, items(mapping)


def emptied_item_by_item(mapping: Any) -> object:
    taken = []
    while len(mapping):
        taken.append(mapping.popitem())
    return taken, items(mapping)


def rewritten(mapping: Any) -> object:
    mapping["a"] = 9  # keeps its place
    del mapping["b"]
    mapping["b"] = 1  # goes last
    return items(mapping)


def updated(mapping: Any) -> object:
    mapping.update({"a": 10}, d=4)
    mapping.update([("e", 5)], self=6)
    mapping.update()
    return items(mapping)


def defaulted(mapping: Any) -> object:
    mapping.setdefault("list", []).append(1)
    return mapping.setdefault("a", 5), mapping.setdefault("n"), items(mapping)


def cleared(mapping: Any) -> object:
    mapping.clear()
    return len(mapping), list(mapping), mapping == {}


def matched(mapping: Any) -> object:
    match mapping:
        case {"a": a, **rest}:
            return a, rest
    return None


NO_ITEMS = [5, None, "ab", ("a",), ("a", 1, 2), ["a", 1], ("x", 1)]


def cleared_while_iterated(mapping: Any) -> None:
    for _ in mapping:
        mapping.clear()


def changed_while_iterated(mapping: Any) -> None:
    for key in mapping:
        mapping[f"{key}{key}"] = 1


def items(mapping: Any) -> list[tuple[Any, Any]]:
    return list(mapping.items())


OPERATIONS: dict[str, Callable[[Any], object]] = {
    "copy": copied,
    "mapping | dict": united,
    "dict | mapping": united_from_the_right,
    "mapping | mapping": lambda mapping: mapping | mapping,
    "mapping |= ...": updated_in_place,
    "mapping | list": lambda mapping: mapping | [("z", 26)],
    "mapping | None": lambda mapping: mapping | None,
    "None | mapping": lambda mapping: None | mapping,
    "mapping |= None": lambda mapping: mapping.__ior__(None),
    "reversed": lambda mapping: list(reversed(mapping)),
    "reversed views": lambda mapping: [
        list(reversed(view)) for view in (mapping.keys(), mapping.values(), mapping.items())
    ],
    "popitem": lambda mapping: (mapping.popitem(), items(mapping)),
    "popitem until it is empty": emptied_item_by_item,
    "popitem of an empty one": lambda mapping: (mapping.clear(), mapping.popitem()),
    "==": lambda mapping: (mapping == DATA, mapping == {}, mapping == [], mapping == None),  # noqa: E711
    "== of a dict": lambda mapping: (DATA == mapping, {} == mapping, [] == mapping),  # noqa: SIM300
    "!=": lambda mapping: (mapping != DATA, mapping != {}, DATA != mapping, {} != mapping),  # noqa: SIM300
    "setdefault": defaulted,
    "update": updated,
    "update with a number": lambda mapping: mapping.update(5),
    "order": rewritten,
    "clear": cleared,
    "dict": dict,
    "list": list,
    "**mapping": lambda mapping: {**mapping, "d": 4},
    "keys": lambda mapping: (sorted(mapping.keys() & {"a", "x"}), mapping.keys() - {"a"}, mapping.keys() == {"a", "b"}),
    "values": lambda mapping: (list(mapping.values()), 1 in mapping.values(), len(mapping.values())),
    "items": lambda mapping: (items(mapping), ("a", 1) in mapping.items(), ("a", 2) in mapping.items()),
    "no items": lambda mapping: ([item in mapping.items() for item in NO_ITEMS], mapping.items() & {"ab", 5}),
    "get": lambda mapping: (mapping.get("a"), mapping.get("x"), mapping.get("x", 5)),
    "pop of a key": lambda mapping: (mapping.pop("a"), mapping.pop("b", 5), items(mapping)),
    "pop with a default": lambda mapping: (mapping.pop("x", 5), mapping.pop("x", None), items(mapping)),
    "a missing key": lambda mapping: mapping["x"],
    "a missing key that is a tuple": lambda mapping: mapping["x", 1],
    "del": lambda mapping: (mapping.__delitem__("b"), items(mapping)),
    "del of a missing key": lambda mapping: mapping.__delitem__("x"),
    "len": len,
    "in": lambda mapping: ("a" in mapping, "x" in mapping, None in mapping),
    "keys of one hash": lambda mapping: (mapping.update({1: "int"}), mapping[True], mapping[1.0], 1 in mapping),
    "a key that cannot be hashed": lambda mapping: mapping.__setitem__([], 1),
    "look for a key that cannot be hashed": lambda mapping: [] in mapping,
    "get a key that cannot be hashed": lambda mapping: mapping.get([]),
    "hash": hash,
    "iter": lambda mapping: (next(iter(mapping)), list(iter(mapping))),
    "a change while it is iterated": changed_while_iterated,
    "clear while it is iterated": cleared_while_iterated,
    "isinstance": lambda mapping: (isinstance(mapping, Mapping), isinstance(mapping, MutableMapping)),
    "match": matched,
}
POP_OF_A_MISSING_KEY = {"pop of a missing key": lambda mapping: mapping.pop("x")}  # None for a Session by itself
TRUTH = {
    "bool": bool,
    "bool of an empty one": lambda mapping: (mapping.clear(), bool(mapping)),
}  # of Django's, whether there is a session


def outcome(operation: Callable[[Any], object], mapping: Any) -> object:
    """Return what an operation makes of a mapping with the DATA, or the error that it raises."""
    mapping.update(a=1, b=2, c=[3])
    try:
        return operation(mapping)
    except Exception as error:
        names_the_key = isinstance(error, KeyError) and "empty" not in str(error)
        return type(error), error.args if names_the_key else ()
