"""What `gaesess doctor` asks Redis, Valkey and PostgreSQL: whether they keep what they have accepted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from gaesess.drivers import run
from gaesess.errors import StoreUnavailable

OK, SLOW, MISSING, FAILED = "ok", "slow", "missing", "failed"
SECONDS = 2.0  # to answer
MIN_REDIS = (6, 2)
TABLE = "gaesess_record"
TABLE_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
BUSY_CONNECTIONS = 0.8  # of all


class Finding(NamedTuple):
    """What was looked at, how it is, and what there is to say or to do."""

    what: str
    state: str
    text: str


_SERVER = """
SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'),
    current_setting('synchronous_standby_names'), pg_is_in_recovery(),
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('max_connections')::int,
    has_table_privilege(%(table)s, 'SELECT'), has_table_privilege(%(table)s, 'INSERT'),
    has_table_privilege(%(table)s, 'UPDATE'), has_table_privilege(%(table)s, 'DELETE')
"""


def redis_findings(url: str) -> Iterator[Finding]:
    """Say whether a Redis or Valkey is set up to keep records."""
    from gaesess.stores._redis import RedisServer

    server = RedisServer(url, SECONDS, may_forget=True, is_async=False, no_cluster=False)
    info: dict[str, Any] = run(server.ask(("INFO",)))[0]
    run(server.close())
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version", info["redis_version"]))
    is_old = tuple(map(int, version.split(".")[:2])) < MIN_REDIS
    yield Finding(f"{name}: version", FAILED if is_old else OK, f"{version}{': 6.2 is needed' if is_old else ''}")
    yield _eviction(name, info)
    yield _persistence(name, info)
    yield _replicas(name, info)


def _eviction(name: str, info: dict[str, Any]) -> Finding:
    policy, limit, used = info["maxmemory_policy"], int(info["maxmemory"]), int(info["used_memory"])
    what, evicted = f"{name}: memory", int(info.get("evicted_keys", 0))
    if policy != "noeviction":
        advice = "good for a cache; for a store set maxmemory-policy noeviction"
        return Finding(what, SLOW, f"{policy} drops sessions and sign-outs, {evicted:,} so far: {advice}")
    if not limit:
        return Finding(what, SLOW, f"{used / 1e6:,.1f} MB, and no maxmemory: the kernel kills it when memory is full")
    return Finding(what, OK, f"{used / 1e6:,.1f} of {limit / 1e6:,.0f} MB, then saves are refused")


def _persistence(name: str, info: dict[str, Any]) -> Finding:
    if not info["aof_enabled"]:
        return Finding(f"{name}: disk", SLOW, "no append-only file: a restart loses sessions; set appendonly yes")
    if info.get("aof_last_write_status") != "ok":
        return Finding(f"{name}: disk", FAILED, "the append-only file cannot be written: is the disk full?")
    return Finding(f"{name}: disk", OK, "an append-only file; with appendfsync everysec a crash loses a second")


def _replicas(name: str, info: dict[str, Any]) -> Finding:
    if info["role"] not in ("master", "primary"):
        return Finding(f"{name}: replicas", FAILED, "it is a replica, which refuses writes: name the primary")
    count = int(info["connected_slaves"])
    advice = "; with wait_replicas=1 a failover loses nothing that was acknowledged" if count else ""
    return Finding(f"{name}: replicas", OK, f"{count}{advice}")


def postgres_findings(url: str) -> Iterator[Finding]:
    """Say whether a PostgreSQL keeps what it has committed, and whether the role may do what it must."""
    import psycopg

    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=int(SECONDS)) as connection:
            (server,) = connection.execute(_SERVER, {"table": TABLE}).fetchall()
    except psycopg.Error as error:
        raise StoreUnavailable(f"PostgreSQL failed: SQLSTATE {error.sqlstate}") from None
    version, fsync, commit, standbys, is_standby, used, most, *rights = server
    yield Finding("PostgreSQL: version", OK, version)
    if is_standby:
        yield Finding("PostgreSQL: replicas", FAILED, "it is a standby: add target_session_attrs=read-write")
    else:
        text = f"synchronous: {standbys}" if standbys else "none is synchronous: a failover may lose the last writes"
        yield Finding("PostgreSQL: replicas", OK, text)
    unsafe = [name for name, value in (("fsync", fsync), ("synchronous_commit", commit)) if value == "off"]
    text = f"{unsafe[0]} is off: a crash loses sessions and sign-outs" if unsafe else "each commit is on the disk"
    yield Finding("PostgreSQL: disk", SLOW if unsafe else OK, text)
    state = SLOW if used > BUSY_CONNECTIONS * most else OK
    yield Finding("PostgreSQL: connections", state, f"{used} of {most} are in use")
    lacking = [right for right, is_given in zip(TABLE_RIGHTS, rights, strict=True) if not is_given]
    text = f"the role lacks {', '.join(lacking)} on {TABLE}" if lacking else f"those on {TABLE} are there"
    yield Finding("PostgreSQL: rights", FAILED if lacking else OK, text)
