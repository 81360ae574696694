"""ndb keys and models as session values."""

from __future__ import annotations

from typing import Any

from vectors import answers
from vectors.ndb_names import NDB_NAMES
from vectors.notation import value_of

KEYS = [
    "key('VectorKind', 1)",
    "key('VectorKind', 'name')",
    "key('VectorKind', None)",
    "key('VectorKind', 2**63 - 1)",
    "key('Parent', 'ü', 'VectorKind', 7, namespace='space', database='base')",
    "{key('VectorKind', 1): [key('VectorKind', 2)]}",
    "{key('VectorKind', 2), key('VectorKind', 1)}",
]
MODELS = [
    "VectorAccount()",
    "VectorAccount(name='Ann', age=2**62, score=-0.5, admin=False)",
    "VectorAccount(name='ü' * 40, tags=['b', 'a', '', 'b'])",
    "VectorAccount(joined=datetime(2026, 1, 2, 3, 4, 5, 678901), born=date(1901, 2, 3), wakes=time(6, 30, 0, 1))",
    "VectorAccount(joined_there=datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))))",
    "VectorAccount(settings={'b': [1, {'a': None}], 'a': 'é'})",
    "VectorAccount(bio='é' * 10, photo=b'\\0\\xff', place=ndb.GeoPt(52.5, 13.4))",
    "VectorAccount(friend=key('VectorAccount', 7), anything='text')",
    "VectorAccount(address=VectorAddress(city='Ulm', zip_code=89073))",
    "VectorAccount(addresses=[VectorAddress(city='Ulm'), VectorAddress(), VectorAddress(zip_code=1)])",
    "VectorAccount(local=VectorCity(name='Ulm'))",
    "VectorAccount(key=key('VectorAccount', 1), age=None)",
    "VectorLoose(name='x', number=1, share=0.5, yes=True, data=b'd', nothing=None, list=[1, 2])",
    "VectorLoose(naive=datetime(2026, 1, 2), aware=datetime(2026, 1, 2, tzinfo=timezone.utc))",
    "VectorDog(legs=4, tricks=['sit'])",
    "[VectorRenamed(name='x', key=key('VectorOfAnotherName', 1)), (VectorAccount(),)]",
]
REFUSED = ["VectorPickled(anything=1)", "VectorLoose(address=VectorAddress(city='Ulm'))"]


def content() -> dict[str, Any]:
    return {
        "about": "Session data with ndb keys and models. vectors/ndb_names.py has the models.",
        "sessions": [{"data": f"{{'v': {value}}}", "bytes": packed(value)} for value in (*KEYS, *MODELS)],
        "refused": [{"data": f"{{'v': {value}}}", **packed(value)} for value in REFUSED],
    }


def packed(value: str) -> Any:
    return answers.packed({"v": value_of(value, **NDB_NAMES)})
