"""Whatever comes in: cookies of any kind, keys that are none, values that cannot be kept, stores that do not answer."""

import logging
import random
from contextlib import contextmanager
from datetime import timedelta

import pytest
from browser import NEW_KEY, OLD_KEY, Browser
from hypothesis import given
from hypothesis import strategies as st
from steps import executed_lines
from wsgi.client import Site, respond

from gaesess import SessionManager, SessionMiddleware, StoreUnavailable, _core, _impl, generate_key, get_current_session
from gaesess.stores.base import CLOCK_MARGIN, record_key

NAME = "__Host-gaesess"
BIG = "x" * 5000  # too big for a cookie: the session lives in the store
KB64 = 65_536


def tell(environ, start_response):
    """An application that tells whether its session is active."""
    session = get_current_session()
    respond(start_response)
    return [b"active" if session.is_active() or dict(session) else b"inactive"]


@contextmanager
def log_records():
    """Collect what gaesess logs, at any level."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("gaesess")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def visit(site, cookie_header):
    """Send a Cookie header that is not to be believed, and return what was logged, one string per record."""
    with log_records() as records:
        exchange = site.serve(tell).send(HTTP_COOKIE=cookie_header)
    assert exchange.status == "200 OK"
    assert exchange.body == b"inactive"
    assert exchange.headers.items() == [("Content-Type", "text/plain"), ("Vary", "Cookie")]
    return [logging.Formatter().format(record) for record in records]


def assert_ignored(site, cookies):
    """Check that cookies are ignored with a single log line that has nothing of their values in it."""
    cookies = list(cookies.items()) if isinstance(cookies, dict) else cookies
    lines = visit(site, "; ".join(f"{name}={value}" for name, value in cookies))
    assert len(lines) == 1
    assert lines[0].startswith(f"ignored the cookie {NAME}: ")
    assert not pieces(value for _, value in cookies) & pieces(lines)


def pieces(texts):
    return {text[start : start + 8] for text in texts for start in range(len(text) - 7)}


@pytest.fixture(scope="module")
def site():
    return Site()


@pytest.fixture(scope="module")
def token(site):
    """The cookie value of a session that lives in it."""
    return site.visitor(tell, name="Ada").cookies[NAME]


@pytest.fixture(scope="module")
def chunked_site():
    return Site(cookie_only_threshold=50_000)


@pytest.fixture(scope="module")
def chunks(chunked_site):
    """The cookies of a session that takes nine."""
    noise = random.Random(1).randbytes(25_000)
    cookies = chunked_site.visitor(tell, noise=noise).cookies
    assert len(cookies) == 9
    return cookies


def test_the_samples_are_good_unless_they_are_damaged(site, token, chunked_site, chunks):
    """Or no test here would show anything."""
    assert site.serve(tell).send(HTTP_COOKIE=f"{NAME}={token}").body == b"active"
    assert chunked_site.serve(tell).send(HTTP_COOKIE=chunks.header()).body == b"active"


# Cookies that are not ours


@pytest.mark.parametrize(
    "header",
    [
        "",
        ";",
        "=",
        NAME,
        f"{NAME}.x=garbage",
        f"{NAME}.7=garbage",
        f"{NAME}.01=garbage",
        f"{NAME}.=garbage",
        f"{NAME}x=garbage",
        f"x{NAME}=garbage",
        f"theme={NAME}=garbage",
        f'theme="a, {NAME}=garbage"',
        "\xe4\xf6\xfc=\xdf",
        "\u65e5\u672c=\u8a9e",
        NAME * (KB64 // len(NAME)),
        "; ".join([f"{NAME}.x=1"] * (KB64 // 13)),
        ";" * KB64,
        "=" * KB64,
        " " * KB64,
        "\xff" * KB64,
    ],
    ids=lambda header: ascii(header[:40]),
)
def test_a_header_without_a_session_cookie_is_no_session_and_no_log_line(site, header):
    assert visit(site, header) == []


def test_a_valid_token_under_another_name_is_not_looked_at(site, token):
    assert visit(site, f"other={token}; {NAME}.1={token}; {NAME}x={token}") == []


# Cookies with our name


@pytest.mark.parametrize(
    "value",
    [
        "",
        "=",
        '""',
        "garbage",
        "\xe4\xf6\xfc" * 20,
        "\u65e5\u672c\u8a9e" * 20,
        "\ud800" * 20,
        "\x00" * 20,
        "%47%48",
        "A" * KB64,
        "\xff" * KB64,
        "IQAAAQ" + "A" * KB64,  # the first bytes of a token in one cookie
        "IQAAFA" + "A" * KB64,  # in twenty
        "IQAA_w" + "A" * KB64,  # in more than there are
        "gaesess=" * (KB64 // 8),
        " " * KB64,
    ],
    ids=lambda value: ascii(value[:20]),
)
def test_garbage_under_our_name_is_ignored(site, value):
    assert_ignored(site, {NAME: value})


def test_a_good_cookie_amid_64_kb_of_noise_is_found(site, token):
    noise = "; ".join(f"{NAME}.x{number}=noise" for number in range(KB64 // 20))
    assert site.serve(tell).send(HTTP_COOKIE=f"{noise}; {NAME}={token}; {noise}").body == b"active"


def test_a_name_that_occurs_twice_is_ignored_even_with_the_same_value(site, token):
    assert_ignored(site, [(NAME, token), (NAME, token)])


def test_a_token_with_another_name_is_ignored(site):
    """The name is part of what its key is derived from."""
    other = Site(cookie_key=site.settings["cookie_key"], cookie_name="other")
    assert_ignored(site, {NAME: other.visitor(tell, name="Ada").cookies["other"]})


def test_a_token_of_another_application_with_another_key_is_ignored(site):
    assert_ignored(site, Site().visitor(tell, name="Ada").cookies)


def test_a_token_of_a_key_that_is_retired_for_good_is_ignored():
    token = Site(cookie_key=OLD_KEY).visitor(tell, name="Ada").cookies[NAME]
    retired = Site(cookie_key=NEW_KEY, retired_keys=[OLD_KEY])
    assert retired.serve(tell).send(HTTP_COOKIE=f"{NAME}={token}").body == b"active"
    assert_ignored(Site(), {NAME: token})


def test_a_token_cut_short_anywhere_is_ignored(site, token):
    for length in range(len(token)):
        assert_ignored(site, {NAME: token[:length]})


def test_a_token_with_more_to_it_is_ignored(site, token):
    for more in ("A", "AAAA", "=", "==", " ", ".", "\xff"):
        assert_ignored(site, {NAME: token + more})


def test_a_token_with_any_one_bit_flipped_is_ignored(site, token):
    good = _core.decode(token)
    for position in range(len(good) * 8):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        assert_ignored(site, {NAME: _core.encode(bytes(bad))})


def test_a_token_with_any_one_bit_of_its_text_flipped_is_ignored(site, token):
    """That includes what is a semicolon then, or no base64 any more, or a second spelling of the same bytes."""
    for position in range(len(token) * 8):
        bad = bytearray(token, "latin-1")
        bad[position // 8] ^= 1 << position % 8
        assert_ignored(site, {NAME: bad.decode("latin-1")})


def test_an_expired_token_is_ignored():
    now = [1_800_000_000]
    site = Site(lifetime=timedelta(hours=1), clock=lambda: now[0])
    cookies = site.visitor(tell, name="Ada").cookies
    now[0] += 3600
    assert_ignored(site, cookies)


# Sessions in many cookies


def test_every_chunk_is_needed(chunked_site, chunks):
    for missing in chunks.keys() - {NAME}:
        assert_ignored(chunked_site, {name: value for name, value in chunks.items() if name != missing})


def test_chunk_7_without_chunk_6_is_ignored(chunked_site, chunks):
    assert_ignored(chunked_site, {name: value for name, value in chunks.items() if name != f"{NAME}.6"})


def test_chunks_without_the_first_are_no_session_cookie(chunked_site, chunks):
    assert visit(chunked_site, "; ".join(f"{name}={value}" for name, value in chunks.items() if name != NAME)) == []


def test_every_chunk_may_be_there_once(chunked_site, chunks):
    for twice in chunks:
        assert_ignored(chunked_site, [*chunks.items(), (twice, chunks[twice])])


def test_chunks_in_each_others_place_are_ignored(chunked_site, chunks):
    swapped = {f"{NAME}.1": chunks[f"{NAME}.2"], f"{NAME}.2": chunks[f"{NAME}.1"]}
    assert_ignored(chunked_site, {**chunks, **swapped})


def test_chunks_of_two_sessions_are_ignored(chunked_site, chunks):
    other = chunked_site.visitor(tell, noise=random.Random(2).randbytes(25_000)).cookies
    for name in chunks:
        assert_ignored(chunked_site, {**chunks, name: other[name]})


# Anything at all. No small letters, so that nothing of what the log says can come from here by chance.

noise = st.text(st.characters(exclude_characters="abcdefghijklmnopqrstuvwxyz"), max_size=200)
values = noise.map(lambda text: text.replace(";", ""))
names = st.sampled_from([NAME, f"{NAME}.1", f"{NAME}.2", f"{NAME}.7", f"{NAME}.x", f"{NAME}.", "theme"]) | values


@given(noise)
def test_any_header_without_our_name_is_no_session_and_no_log_line(site, header):
    assert visit(site, header) == []


@given(values, st.lists(st.tuples(names, values)), st.randoms(use_true_random=False))
def test_any_cookies_under_our_name_are_ignored(site, value, others, shuffler):
    cookies = [(NAME, value), *others]
    shuffler.shuffle(cookies)
    assert_ignored(site, cookies)


@given(st.data())
def test_any_change_of_a_token_is_ignored(site, token, data):
    start = data.draw(st.integers(0, len(token)))
    stop = data.draw(st.integers(start, len(token)))
    changed = token[:start] + data.draw(values | st.just(token)) + token[stop:]
    if changed.strip(" \t") != token:
        assert_ignored(site, {NAME: changed})


@given(st.binary(max_size=300))
def test_any_bytes_as_a_token_are_ignored(site, data):
    assert_ignored(site, {NAME: _core.encode(data)})


# Linear in the length of the header


@pytest.mark.parametrize(
    "unit",
    [
        "A",
        " ",
        ";",
        "=",
        NAME,
        f"{NAME}=",
        f"{NAME}.x=1;",
        f"   {NAME}",
        f"{NAME}.1",
        f"; x{NAME}=1",
        f"theme=dark; {NAME}.19;",
    ],
)
@pytest.mark.parametrize("prefix", ["", f"{NAME}=", f"{NAME}=IQAAAQ", f"{NAME}=IQAAFA; "])
def test_twice_the_header_is_at_most_twice_the_work(prefix, unit):
    """In the core's specification, whose compiled mirror takes the same steps."""
    half = executed_lines(_core.read_cookies, prefix + unit * (KB64 // 2 // len(unit)), NAME)
    whole = executed_lines(_core.read_cookies, prefix + unit * (KB64 // len(unit)), NAME)
    assert whole <= 2 * half + 20


# Pointer cookies, and what is in the store


class Visitor:
    """A client whose session lives in the store, and its record there."""

    def __init__(self):
        self.site = Site()
        client = self.site.visitor(tell, name="Ada", big=BIG)
        self.client, self.cookies = client, client.cookies
        token = _core.decode(self.cookies[NAME])
        self.sid, self.expires = token[16:32], int.from_bytes(token[4:8], "big")
        self.key = record_key(self.expires + CLOCK_MARGIN, self.sid)
        self.record = self.site.store.get(self.key).data

    def put(self, data):
        self.site.store.put(self.key, data, expires_at=self.expires)

    def assert_ignored(self):
        """Check that the cookie is ignored and that the log says so, but no key, no id and none of the cookie."""
        lines = visit(self.site, self.cookies.header())
        assert lines[-1].startswith("ignored the cookie")
        sid = _core.format_sid(self.expires, False, self.sid)
        assert not pieces([self.key, self.sid.hex(), sid, *self.cookies.values()]) & pieces(lines)


@pytest.fixture
def visitor():
    visitor = Visitor()
    assert visitor.client.send().body == b"active"
    return visitor


def test_a_pointer_to_a_record_that_was_deleted_is_ignored(visitor):
    visitor.site.store.delete(visitor.key)
    visitor.assert_ignored()


def test_a_pointer_replayed_after_logout_is_ignored(visitor):
    SessionManager(**visitor.site.settings).open(visitor.cookies.header()).terminate()
    visitor.assert_ignored()


def test_a_pointer_to_the_record_of_another_session_is_ignored(visitor):
    other = SessionManager(**visitor.site.settings).open(None)
    other["big"] = BIG
    other.commit()
    expires, _, sid = _impl.parse_sid(other.sid)
    visitor.put(visitor.site.store.get(record_key(expires + CLOCK_MARGIN, sid)).data)
    visitor.assert_ignored()


def test_a_pointer_to_a_record_below_its_floor_is_ignored(visitor):
    """As when a backup of the store was restored."""
    with_more = SessionManager(**visitor.site.settings).open(visitor.cookies.header())
    with_more["more"] = True
    visitor.cookies.receive(with_more.commit())
    assert visitor.client.send().body == b"active"
    visitor.put(visitor.record)
    visitor.assert_ignored()


def cut(record):
    return record[:-1]


def flipped(record):
    return record[:40] + bytes([record[40] ^ 1]) + record[41:]


def replaced_by_garbage(record):
    return b"garbage"


def replaced_by_much_garbage(record):
    return b"\xff" * len(record)


@pytest.mark.parametrize("damage", [cut, flipped, replaced_by_garbage, replaced_by_much_garbage])
def test_a_pointer_to_a_damaged_record_is_ignored(visitor, damage):
    visitor.put(damage(visitor.record))
    visitor.assert_ignored()


def test_a_pointer_to_a_copy_of_the_cookie_is_ignored(visitor):
    """Cookies and records are sealed for their own purpose each."""
    visitor.put(_core.decode(visitor.cookies[NAME]))
    visitor.assert_ignored()


def test_a_record_sent_as_a_cookie_is_ignored(visitor):
    """Whoever reads the store has no session of it."""
    small = SessionManager(**visitor.site.settings).open(None)
    small["name"] = "Ada"
    small.save(persist_even_if_using_cookie=True)
    expires, _, sid = _impl.parse_sid(small.sid)
    record = visitor.site.store.get(record_key(expires + CLOCK_MARGIN, sid)).data
    assert_ignored(visitor.site, {NAME: _core.encode(record)})


def test_a_pointer_for_a_process_without_a_store_is_503_and_no_logout(visitor):
    """It lacks a setting that the others have."""
    visitor.site.settings["store"] = None
    exchange = visitor.site.serve(tell).send(HTTP_COOKIE=visitor.cookies.header())
    assert exchange.status == "503 Service Unavailable"
    assert "Set-Cookie" not in exchange.headers


def test_a_pointer_for_a_process_without_a_store_can_be_deleted_with_terminate(visitor):
    visitor.site.settings["store"] = None
    session = SessionManager(**visitor.site.settings).open(visitor.cookies.header())
    session.terminate()
    assert any("Max-Age=0" in line for line in session.commit())


# Keys that are none


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (None, "missing"),
        ("", "0 bytes"),
        (b"", "0 bytes"),
        ("x" * 31, "31 bytes"),
        (bytes(range(31)), "31 bytes"),
        ("x" * 64, "one repeated character"),
        (b"\0" * 32, "one repeated character"),
    ],
)
def test_a_bad_key_raises_at_start_up_and_says_how_to_make_one(key, problem):
    with pytest.raises(ValueError, match=f"cookie_key .*{problem}.*python -m gaesess genkey"):
        SessionMiddleware(tell, cookie_key=key)
    with pytest.raises(ValueError, match=rf"retired_keys\[1\] .*{problem}.*python -m gaesess genkey"):
        SessionMiddleware(tell, cookie_key=generate_key(), retired_keys=[generate_key(), key])


def test_no_key_at_all_raises_at_start_up():
    with pytest.raises(ValueError, match=r"cookie_key is missing.*python -m gaesess genkey"):
        SessionMiddleware(tell)


def test_the_error_for_a_bad_key_does_not_tell_it():
    with pytest.raises(ValueError, match="30 bytes") as raised:
        SessionMiddleware(tell, cookie_key="correct horse battery staple..")
    assert "horse" not in str(raised.value)


def test_the_smallest_good_key_is_taken():
    SessionMiddleware(tell, cookie_key="correct horse battery staple....")


# Values that cannot be kept


class Unknown:
    pass


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [Unknown(), [Unknown()], {"deep": [{"deeper": Unknown()}]}, Text("text"), tell, Unknown, iter([]), bytearray(b"x")],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_not_known_raises_a_type_error_naming_its_session_key(site, value):
    def app(environ, start_response):
        get_current_session().update(name="Ada", cart=value)
        respond(start_response)
        return [b"saved"]

    exchange = site.serve(app).begin()
    with pytest.raises(TypeError, match=r"session\['cart'\]"):
        exchange.run()
    assert exchange.status is None


NAN = float("nan")


@pytest.mark.parametrize("key", [NAN, (1, NAN), (("a", (NAN,)),), frozenset({NAN}), -NAN], ids=repr)
def test_nan_is_no_key_within_a_value_and_the_error_names_the_place(key):
    session = SessionManager(generate_key()).open(None)
    session["cart"] = {"rows": [{key: 1}]}
    with pytest.raises(TypeError, match=r"^session\['cart'\]\['rows'\]\[0\].*NaN"):
        session.commit()


@pytest.mark.parametrize("key", [NAN, (1, NAN)], ids=repr)
def test_nan_is_no_key_of_a_session(key):
    session = SessionManager(generate_key()).open(None)
    session[key] = 1
    with pytest.raises(TypeError, match="NaN"):
        session.commit()


def test_nan_as_a_value_is_kept():
    browser = Browser(SessionManager(generate_key()))
    with browser.request() as session:
        session["value"] = NAN
    assert str(browser.data()) == "{'value': nan}"


# A store that is down


def writing(environ, start_response):
    get_current_session()["big"] = BIG
    respond(start_response)
    return [b"saved"]


@pytest.mark.parametrize("failure", ["down", "deaf"])
def test_a_write_that_the_store_does_not_confirm_is_503_and_no_cookie(failure):
    site = Site()
    setattr(site.store, failure, True)
    exchange = site.serve(writing).send()
    assert exchange.status == "503 Service Unavailable"
    assert b"saved" not in exchange.body
    assert "Set-Cookie" not in exchange.headers


def test_a_store_that_is_down_raises_store_unavailable_at_every_use(visitor):
    visitor.site.store.down = True
    session = SessionManager(**visitor.site.settings).open(visitor.cookies.header())
    uses = [
        session.is_active,
        session.keys().__len__,
        session.get_expiration,
        session.clear,
        session.save,
        lambda: session["name"],
        lambda: session.update(name="Grace"),
        lambda: session.pop("name"),
    ]
    for use in uses:
        with pytest.raises(StoreUnavailable):
            use()


def test_an_outage_is_no_logout(visitor):
    visitor.site.store.down = True
    exchange = visitor.client.send()
    assert exchange.status == "503 Service Unavailable"
    assert "Set-Cookie" not in exchange.headers
    visitor.site.store.down = False
    assert visitor.client.send().body == b"active"


def test_an_application_that_hides_a_failed_save_cannot_say_saved(visitor):
    def app(environ, start_response):
        get_current_session()["name"] = "Grace"
        visitor.site.store.down = True
        with pytest.raises(StoreUnavailable):
            get_current_session().save()
        respond(start_response)
        return [b"saved"]

    visitor.client.app = visitor.site.serve(app).app
    assert visitor.client.send().status == "503 Service Unavailable"
    visitor.site.store.down = False
    assert visitor.site.data(visitor.client)["name"] == "Ada"
