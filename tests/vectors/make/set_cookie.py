"""Set-Cookie headers, by settings, times, sizes, and the cookies left over from before."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from clock import NOW
from vectors.make.scenes import end, played, scene, visit, write

DAY = 24 * 3600
POLICIES = {
    "as it comes": "",
    "a name of its own": "cookie_name='s'",
    "a long name": "cookie_name='n' * 200",
    "a name with all characters that it can have": 'cookie_name="!#$%&\'*+-.^_`|~09AZaz"',
    "a path": "cookie_path='/shop'",
    "a path with all kinds of characters": "cookie_path='/a-b_c.d~e/!$&()*+,=:@%20'",
    "the longest path": "cookie_path='/' + 'p' * 1023",
    "a domain": "cookie_domain='example.com'",
    "a domain with a dot": "cookie_domain='.example.com'",
    "a domain and a path": "cookie_domain='shop.example.com', cookie_path='/shop'",
    "not secure": "cookie_secure=False",
    "not secure, with a domain": "cookie_secure=False, cookie_domain='localhost'",
    "SameSite=Strict": "cookie_samesite='Strict'",
    "SameSite=None": "cookie_samesite='None'",
    "partitioned": "cookie_partitioned=True",
    "partitioned and SameSite=None": "cookie_partitioned=True, cookie_samesite='None'",
    "all at once": "cookie_name='__Secure-s', cookie_path='/x', cookie_domain='example.com', cookie_samesite='None', "
    "cookie_partitioned=True",
    "a name with the prefix of hosts": "cookie_name='__Host-s'",
    "lifetime zero": "lifetime=timedelta(0)",
    "a lifetime of a second": "lifetime=timedelta(seconds=1)",
    "the longest lifetime": "lifetime=timedelta(days=400)",
    "a lifetime with a fraction": "lifetime=timedelta(seconds=90.9)",
    "encrypted": "encrypt=True",
}
DATES = [
    "1970-01-01T00:01:00",
    "1999-12-31T23:59:59",
    "2000-02-29T00:00:00",
    "2024-02-29T23:59:59",
    "2024-12-31T23:59:59",
    "2027-01-01T00:00:00",
    "2027-02-28T23:59:59",
    "2027-03-01T00:00:00",
    "2028-02-29T12:34:56",
    "2038-01-19T03:14:07",
    "2038-01-19T03:14:08",
    "2100-02-28T23:59:59",
    "2100-03-01T00:00:00",
    "2106-02-07T06:28:15",
    *(f"2029-{month:02}-{month + 4:02}T{2 * month - 1:02}:{month:02}:{59 - month:02}" for month in range(1, 13)),
]
LARGE = "lifetime=timedelta(days=1), cookie_only_threshold=80_000"


def content(folder: Path) -> dict[str, Any]:
    scenes = [scene(what, settings, [write("n=1"), write("n=2"), end()]) for what, settings in POLICIES.items()]
    scenes += [of_dates(), of_starts(), of_sizes(), of_sizes_with_long_attributes(), of_left_overs()]
    return {
        "about": "Set-Cookie headers. Times are in seconds after 1,800,000,000.",
        "scenes": [played(each, folder) for each in scenes],
    }


def of_dates() -> dict[str, Any]:
    steps = []
    for date in DATES:
        expires = int(datetime.fromisoformat(date).replace(tzinfo=timezone.utc).timestamp())
        steps.append(visit(f"s.start({expires}); s['n'] = 1", at=expires - 59 - NOW))
    return scene("dates", "", steps)


def of_starts() -> dict[str, Any]:
    starts = [
        *("", "0", "0, True", "ssl_only=True", str(NOW + 1), f"{NOW + 60}.9", f"{NOW + 60}, True"),
        *(str(NOW + 399 * DAY), str(NOW + 400 * DAY), str(NOW + 400 * DAY + 1), str(2**32 - 1)),
        *(str(NOW), str(NOW - 1), "1", "-1", str(2**32)),
    ]
    return scene("ways to start", "cookie_secure=False", [visit(f"s.start({start}); s['n'] = 1") for start in starts])


def of_sizes() -> dict[str, Any]:
    sizes = [2846, 2847, 2848, 5000, 9000, 1, 57000, 58000, 59000, 1]
    steps = [write(f"text='x' * {size}") for size in sizes]
    return scene("sizes, and chunks that are left over", LARGE, [*steps, write("text='x' * 9000"), end()])


def of_sizes_with_long_attributes() -> dict[str, Any]:
    settings = f"{LARGE}, cookie_path='/' + 'p' * 1000, cookie_domain='d' * 60 + '.example.com', cookie_name='n' * 100"
    steps = [write(f"text='x' * {size}") for size in (1000, 2000, 3000)]
    return scene("sizes, with long attributes", settings, [*steps, end()])


def of_left_overs() -> dict[str, Any]:
    left_over = {"given": {"ada": {"__Host-gaesess.1": "x", "__Host-gaesess.2": "y"}}}
    garbage = {"__Host-gaesess": "x"}
    return scene(
        "chunks left over from before, and invalid cookies",
        "",
        [
            left_over | write("n=1"),
            write("n=2"),
            left_over | end(),
            {"given": {"ada": garbage, "bob": garbage}} | write("n=1"),
            end("bob"),
        ],
    )
