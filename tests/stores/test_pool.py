"""Pools of connections: each is lent to one caller, in one process, and none that is broken is lent again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gaesess.errors import StoreBusy
from gaesess.stores._pool import MAX_IDLE, AsyncPool, Places, Pool, is_readable, places


class Connection:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Broken(Exception):
    pass


def break_it(connection: Connection) -> None:
    raise Broken


def keep(connection: Connection) -> Connection:
    return connection


def in_use(pool: Pool[Connection], number: int) -> list[Connection]:
    """Return that many connections that were lent at the same time, and are idle now."""
    lent: list[Connection] = []

    def use(connection: Connection) -> None:
        lent.append(connection)
        if len(lent) < number:
            pool.lend(use)

    pool.lend(use)
    return lent


def test_a_connection_is_lent_again() -> None:
    pool = Pool(Connection)
    assert pool.lend(keep) is pool.lend(keep)


def test_two_uses_at_once_have_two_connections() -> None:
    first, second = in_use(Pool(Connection), 2)
    assert first is not second


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_a_connection_whose_use_fails_is_closed_with_those_that_are_idle(error: type[BaseException]) -> None:
    pool = Pool(Connection)
    idle = in_use(pool, 2)

    def fail(connection: Connection) -> None:
        raise error

    with pytest.raises(error):
        pool.lend(fail)
    assert [connection.is_closed for connection in idle] == [True, True]
    assert not pool.lend(keep).is_closed


def test_a_stale_connection_is_closed_and_not_lent() -> None:
    stale: list[Connection] = []
    pool = Pool(Connection, is_stale=stale.__contains__)
    stale.append(pool.lend(keep))
    assert pool.lend(keep) is not stale[0]
    assert stale[0].is_closed


def test_what_a_burst_needs_beyond_the_idle_ones_is_closed_after_it() -> None:
    burst = in_use(Pool(Connection), MAX_IDLE + 10)
    assert sum(not connection.is_closed for connection in burst) == MAX_IDLE


def test_close_closes_the_idle_connections_and_the_pool_stays_usable() -> None:
    pool = Pool(Connection)
    idle = pool.lend(keep)
    pool.close()
    assert idle.is_closed
    assert not pool.lend(keep).is_closed


def test_no_more_connections_are_made_than_there_may_be() -> None:
    pool = Pool(Connection, max_connections=2, timeout=0)
    with pytest.raises(StoreBusy, match=r"^all 2 connections of this process were in use for 0 seconds$"):
        in_use(pool, 3)


def test_who_waits_for_a_connection_gets_the_one_that_becomes_free() -> None:
    pool = Pool(Connection, max_connections=1, timeout=60)
    waiting, got = threading.Event(), []

    def wait() -> None:
        waiting.set()
        got.append(pool.lend(keep))

    def use(connection: Connection) -> Connection:
        thread.start()
        waiting.wait()
        return connection

    thread = threading.Thread(target=wait)
    lent = pool.lend(use)
    thread.join()
    assert got == [lent]


@pytest.mark.parametrize("use", [keep, break_it])
def test_a_connection_is_free_after_its_use_however_that_ended(use: Callable[[Connection], Any]) -> None:
    pool = Pool(Connection, max_connections=1, timeout=0)
    for _ in range(2):
        with contextlib.suppress(Broken):
            pool.lend(use)
    assert not pool.lend(keep).is_closed


def test_after_a_fork_that_python_was_not_told_of_the_child_abandons_what_it_has_inherited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    abandoned: list[Connection] = []
    pool = Pool(Connection, abandon=abandoned.append)
    inherited = in_use(pool, 2)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert pool.lend(keep) not in inherited
    assert sorted(map(id, abandoned)) == sorted(map(id, inherited))
    assert not any(connection.is_closed for connection in inherited)


def test_a_child_does_not_close_connections_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(Connection)
    inherited = pool.lend(keep)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    pool.close()
    assert not inherited.is_closed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.* is multi-threaded, use of fork:DeprecationWarning")
def test_a_child_abandons_what_it_has_inherited_when_python_forks() -> None:
    abandoned: list[Connection] = []
    pool = Pool(Connection, abandon=abandoned.append)
    in_use(pool, 2)
    child = os.fork()
    if child == 0:
        os._exit(len(abandoned))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert abandoned == []


def test_after_a_fork_all_connections_are_free_to_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(Connection, max_connections=1, timeout=0)

    def fork_in_use(connection: Connection) -> Connection:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        return pool.lend(keep)

    assert not pool.lend(fork_in_use).is_closed


def test_pools_can_share_their_places_and_a_child_gets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def shared() -> Places:
        if not made or made[-1][0] != os.getpid():
            made.append((os.getpid(), places(1)))
        return made[-1][1]

    pools = [Pool(Connection, max_connections=1, shared_places=shared, timeout=0) for _ in range(2)]
    with pytest.raises(StoreBusy):
        pools[0].lend(lambda connection: pools[1].lend(keep))
    assert not pools[1].lend(keep).is_closed

    def fork_in_use(connection: Connection) -> Connection:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        return pools[1].lend(keep)

    assert not pools[0].lend(fork_in_use).is_closed


def test_a_deadline_ends_the_wait_for_a_place_and_is_passed_to_connect() -> None:
    deadlines: list[float] = []

    def connect(deadline: float) -> Connection:
        deadlines.append(deadline)
        return Connection()

    pool = Pool(connect, max_connections=1, timeout=60)
    with pytest.raises(StoreBusy):
        pool.lend(lambda connection: pool.lend(keep, 0.0), 123.0)
    assert deadlines == [123.0]


@pytest.mark.parametrize("others", [lambda other: other.close(), lambda other: other.sendall(b"farewell")])
def test_a_socket_is_readable_when_the_other_side_has_closed_it_or_said_something(
    others: Callable[[socket.socket], None],
) -> None:
    ours, other = socket.socketpair()
    with ours, other:
        assert not is_readable(ours.fileno())
        others(other)
        assert is_readable(ours.fileno())


# -- AsyncPool


def async_pool(**options: Any) -> AsyncPool[Connection]:
    async def connect() -> Connection:
        return Connection()

    return AsyncPool(connect, **{"discard": Connection.close, "max_connections": 2, "timeout": 0} | options)


async def kept(connection: Connection) -> Connection:
    return connection


async def broken(connection: Connection) -> Connection:
    raise Broken


def test_coroutines_get_a_connection_again() -> None:
    async def main(pool: AsyncPool[Connection]) -> bool:
        return await pool.lend(kept) is await pool.lend(kept)

    assert asyncio.run(main(async_pool()))


def test_a_stale_connection_is_not_lent_to_a_coroutine() -> None:
    stale: list[Connection] = []

    async def main(pool: AsyncPool[Connection]) -> Connection:
        stale.append(await pool.lend(kept))
        return await pool.lend(kept)

    assert asyncio.run(main(async_pool(is_stale=stale.__contains__))) is not stale[0]
    assert stale[0].is_closed


def test_a_coroutine_that_fails_or_is_cancelled_closes_its_connection() -> None:
    used: list[Connection] = []

    async def hang(connection: Connection) -> None:
        used.append(connection)
        await asyncio.Event().wait()

    async def main(pool: AsyncPool[Connection]) -> None:
        task = asyncio.ensure_future(pool.lend(hang))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main(async_pool()))
    assert [connection.is_closed for connection in used] == [True]


def test_coroutines_make_no_more_connections_than_there_may_be() -> None:
    async def hold(connection: Connection) -> Connection:
        return await pool.lend(kept)

    pool = async_pool(max_connections=1)
    with pytest.raises(StoreBusy, match="all 1 connections"):
        asyncio.run(pool.lend(hold))  # type: ignore[arg-type]


def test_a_coroutine_that_waits_gets_the_connection_that_becomes_free() -> None:
    async def main(pool: AsyncPool[Connection]) -> set[int]:
        return {id(connection) for connection in await asyncio.gather(*(pool.lend(slow) for _ in range(3)))}

    async def slow(connection: Connection) -> Connection:
        await asyncio.sleep(0)
        return connection

    assert len(asyncio.run(main(async_pool(max_connections=1, timeout=60)))) == 1


def test_another_event_loop_gets_connections_of_its_own_and_those_of_a_closed_loop_are_discarded() -> None:
    pool = async_pool()
    first = asyncio.run(pool.lend(kept))  # type: ignore[arg-type]
    assert asyncio.run(pool.lend(kept)) is not first  # type: ignore[arg-type]
    assert first.is_closed


def test_close_discards_the_idle_connections_of_all_loops() -> None:
    pool = async_pool()

    async def main() -> Connection:
        connection = await pool.lend(kept)
        pool.close()
        return connection

    assert asyncio.run(main()).is_closed
