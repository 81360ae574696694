"""Which scripts are run, and in which configurations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement, product

from model.world import Case

ANYWHERE = ["read", "write", "increment", "append", "twice", "regenerate", "terminate", "start"]
IN_STORE = [*ANYWHERE, "shrink", "quick"]
SLOW = [
    ("terminate", "slow_quick"),
    ("regenerate", "slow_quick"),
    ("increment", "slow_quick"),
    ("increment", "slow_increment"),
]
IN_COOKIE = [*ANYWHERE, "grow"]
REVOCABLE = ["bind", "login", "revoke_user", "revoke_session"]
STALE = ["old_read", "old_increment"]  # with the first cookie that the client had
TRIPLES = [
    ("regenerate", "regenerate", "terminate"),
    ("regenerate", "regenerate", "increment"),
    ("regenerate", "increment", "terminate"),
    ("increment", "increment", "increment"),
    ("increment", "append", "terminate"),
    ("write", "write", "read"),
    ("increment", "quick", "read"),
    ("increment", "terminate", "read"),
    ("regenerate", "terminate", "read"),
    ("shrink", "increment", "read"),
]
REVOCABLE_TRIPLES = [
    ("login", "revoke_user", "read"),
    ("bind", "revoke_user", "revoke_user"),
    ("bind", "bind", "revoke_user"),
    ("regenerate", "revoke_session", "read"),
    ("increment", "revoke_user", "read"),
]
GROWING_TRIPLES = [
    ("grow", "terminate", "read"),
    ("grow", "increment", "read"),
    ("grow", "grow", "increment"),
]
CONFIGS = [
    f"{kind}{revocable},{processes}p"
    for revocable, kind, processes in product(("", ",revocable"), ("memory", "durable", "tiered"), (2, 1))
]


def scripts(revocable: bool) -> Iterator[str]:
    """Yield every pair, and the triples."""
    more = [*REVOCABLE, *STALE] if revocable else []
    pairs = [(pair, "store") for pair in combinations_with_replacement([*IN_STORE, *more], 2)]
    pairs += [
        (pair, "cookie")
        for pair in combinations_with_replacement([*IN_COOKIE, *(REVOCABLE if revocable else [])], 2)
        if revocable or "grow" in pair
    ]
    for pair, home in pairs:
        if not all(op.startswith("old_") for op in pair):
            yield f"{'|'.join(pair)}@{home}"
    for triple in [*SLOW, *TRIPLES, *(REVOCABLE_TRIPLES if revocable else [])]:
        yield f"{'|'.join(triple)}@store"
    for triple in GROWING_TRIPLES:
        yield f"{'|'.join(triple)}@cookie"


def cases(only: str = "") -> list[Case]:
    """Return every script in every configuration whose name has `only` in it."""
    found = [Case.parse(script, config) for config in CONFIGS for script in scripts("revocable" in config)]
    return [case for case in found if only in str(case)]
