"""The demo's whole story, in a real browser against a real server."""

import re
from urllib.request import Request, urlopen

import pytest
import services
from playwright.sync_api import expect


@pytest.fixture(scope="module")
def demo(run_demo):
    with run_demo() as running:
        yield running


@pytest.fixture(params=["SQLite", "memcached → SQLite", "Datastore", "memcached → Datastore"])
def demo_on_each_engine(request, run_demo):
    options, env = [], {}
    if "memcached" in request.param:
        options += ["--memcache", request.getfixturevalue("memcached")]
    if "Datastore" in request.param:
        options += ["--datastore"]
        emulator = request.getfixturevalue("datastore_emulator")
        env = {"DATASTORE_EMULATOR_HOST": emulator, "GOOGLE_CLOUD_PROJECT": services.PROJECT}
    with run_demo(*options, **env) as running:
        yield running, request.param


@pytest.fixture
def opened(page, demo):
    page.goto(demo.url)
    expect_commit(page, "No session: no cookie came, and none was set")
    return page


def expect_home(page, home):
    expect(page.locator("#journey")).to_have_attribute("data-home", home)


def expect_commit(page, text):
    expect(page.get_by_role("status")).to_contain_text(text)


def put_into_cart(page, item):
    page.get_by_role("button", name=f"Add one {item}").click()


def count_in_cart(page, item):
    return page.get_by_role("listitem").filter(has_text=item).locator(".count")


def session_id(page):
    """Return what the page shows of the session's id."""
    return page.get_by_role("row").filter(has_text="of 16 bytes").get_by_role("cell").last.inner_text()


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def test_a_growing_session_moves_to_the_store_and_a_shrinking_one_back(page, demo_on_each_engine):
    demo, engines = demo_on_each_engine
    page.goto(demo.url)
    expect(page.locator("#engines")).to_have_text(engines)
    put_into_cart(page, "Reading lamp")
    expect_home(page, "cookie")

    page.get_by_label("Padding").press("End")
    expect_home(page, "store")
    expect_commit(page, "Moved to the store: record written, pointer cookie of")
    expect(page.get_by_role("row").filter(has_text="flags")).to_contain_text("POINTER")
    expect(page.locator("#log > li").first).to_contain_text(f"{engines.split()[-1]} add")

    press(page, "Only read it")
    expect_commit(page, "Nothing changed: no Set-Cookie, store only read")

    page.get_by_label("Padding").press("Home")
    expect_home(page, "cookie")
    expect_commit(page, "Moved back into the cookie")
    expect(count_in_cart(page, "Reading lamp")).to_have_text("1")


def test_a_small_session_is_read_without_any_store(opened):
    put_into_cart(opened, "Reading lamp")
    expect_commit(opened, "New session. Sealed into the cookie")
    press(opened, "Only read it")
    expect_commit(opened, "Nothing changed: no Set-Cookie, no store access")


def test_the_cart_is_still_there_after_a_reload(opened):
    put_into_cart(opened, "Wool blanket")
    put_into_cart(opened, "Wool blanket")
    expect(count_in_cart(opened, "Wool blanket")).to_have_text("2")
    opened.reload()
    expect(count_in_cart(opened, "Wool blanket")).to_have_text("2")


def test_signing_in_keeps_the_cart_and_changes_the_id(opened):
    put_into_cart(opened, "Field notebook")
    expect_home(opened, "cookie")
    before = session_id(opened)
    opened.get_by_label("Name").fill("Ada")
    press(opened, "Sign in")
    expect(opened.get_by_text("signed in as Ada")).to_be_visible()
    expect_commit(opened, "New id.")
    expect(count_in_cart(opened, "Field notebook")).to_have_text("1")
    assert session_id(opened) != before


@pytest.mark.parametrize("size", ["Home", "End"], ids=["from the cookie", "from the store"])
def test_signing_out_ends_the_session_and_takes_the_cookie_back(opened, context, size):
    put_into_cart(opened, "Espresso cup")
    opened.get_by_label("Padding").press(size)
    expect_home(opened, "store" if size == "End" else "cookie")
    press(opened, "Sign out")
    expect_commit(opened, "Ended: a tombstone for the record, no cookie" if size == "End" else "Ended: no cookie")
    expect_home(opened, "none")
    assert context.cookies() == []


def test_a_tampered_cookie_is_refused(opened, context):
    put_into_cart(opened, "Espresso cup")
    expect_home(opened, "cookie")
    press(opened, "Tamper")
    expect_commit(opened, "Refused: ignored the cookie gaesess: token has a tag that does not fit")
    expect_home(opened, "none")
    expect(opened.get_by_text("refused", exact=True)).to_be_visible()
    assert len(context.cookies()) == 1

    put_into_cart(opened, "Wool blanket")
    expect_commit(opened, "New session.")
    expect(count_in_cart(opened, "Espresso cup")).to_have_text("0")


def test_a_session_about_to_end_is_counted_down_and_then_gone(opened):
    put_into_cart(opened, "Espresso cup")
    countdown = opened.locator("#countdown")
    expect(countdown).to_contain_text("6 d 23:59:")
    press(opened, "End in 6 s")
    expect(countdown).to_have_text(re.compile("00:00:0[3-6]"))
    expect(countdown).to_have_text(re.compile("00:00:0[0-2]"))
    expect_home(opened, "none")
    expect(countdown).to_have_text("\N{EN DASH}")
    expect(opened.locator("#log > li").first).to_contain_text("Time is over")


def test_no_script_can_read_the_cookie(opened, context):
    put_into_cart(opened, "Espresso cup")
    expect_home(opened, "cookie")
    assert [cookie["name"] for cookie in context.cookies()] == ["gaesess"]
    assert opened.evaluate("document.cookie") == ""


def test_what_the_server_refuses_is_said(context, demo):
    page = context.new_page()  # Chromium itself logs the status 400 on the console, which the fixture `page` forbids
    page.goto(demo.url)
    expect_commit(page, "No session")
    page.get_by_label("Name").fill("   ")
    press(page, "Sign in")
    expect_commit(page, '"name" has to be text of 1 to 40 characters')


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(opened, width):
    opened.set_viewport_size({"width": width, "height": 844})
    opened.get_by_label("Name").fill("W" * 40)
    press(opened, "Sign in")
    opened.get_by_label("Padding").press("End")
    expect_home(opened, "store")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_events_are_shown_as_they_happen_also_those_of_other_clients(opened, demo):
    events = opened.get_by_role("list", name="Recent events")
    with urlopen(Request(f"{demo.url}state", headers={"Cookie": "gaesess=forged"})) as answer:
        assert answer.status == 200
    expect(events.get_by_role("listitem").first).to_contain_text("token_refused")
    put_into_cart(opened, "Reading lamp")
    expect(events.get_by_role("listitem").first).to_contain_text("committed")
    expect(events.get_by_role("listitem").first).to_contain_text("home=cookie")
