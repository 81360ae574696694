"""A session does what a dictionary does, before and after it was saved."""

import pytest
from browser import Browser
from dictionary import OPERATIONS, POP_OF_A_MISSING_KEY, TRUTH, outcome

from gaesess import SessionClosed
from gaesess.asgi import ASGISession

every_operation = pytest.mark.parametrize("operation", (OPERATIONS | TRUTH).values(), ids=OPERATIONS | TRUTH)


@pytest.fixture(params=["in its cookie", "in the store"])
def browser(request, make_manager):
    return Browser(make_manager(cookie_only_threshold=0 if request.param == "in the store" else None))


@every_operation
def test_a_new_session_does_what_a_dictionary_does(browser, operation):
    assert outcome(operation, browser.send()) == outcome(operation, {})


@every_operation
def test_a_session_that_was_read_does_what_a_dictionary_does(browser, operation):
    with browser.request() as session:
        session.update(a=1, b=2, c=[3])
    assert outcome(operation, browser.send()) == outcome(operation, {})


@every_operation
def test_what_is_saved_is_what_a_dictionary_has(browser, operation):
    expected = {}
    outcome(operation, expected)
    with browser.request() as session:
        outcome(operation, session)
    assert list(browser.data().items()) == list(expected.items())


@every_operation
def test_what_is_saved_over_an_earlier_session_is_what_a_dictionary_has(browser, operation):
    expected = {}
    outcome(operation, expected)
    with browser.request() as session:
        session.update(a=1, b=2, c=[3])
    with browser.request() as session:
        outcome(operation, session)
    assert list(browser.data().items()) == list(expected.items())


@every_operation
def test_the_session_of_asgi_does_what_a_dictionary_does(manager, operation):
    assert outcome(operation, ASGISession(manager.config, None)) == outcome(operation, {})


def test_pop_of_a_missing_key_is_none_as_in_1_07_and_a_dictionarys_error_for_frameworks(manager):
    (operation,) = POP_OF_A_MISSING_KEY.values()
    assert outcome(operation, manager.open(None)) is None
    assert outcome(operation, ASGISession(manager.config, None)) == outcome(operation, {})


def test_a_copy_is_a_dictionary_of_its_own(browser):
    with browser.request() as session:
        session["a"] = 1
        session.copy()["a"] = 2
        (session | {"b": 3})["a"] = 4
    assert browser.data() == {"a": 1}


def test_to_unite_reads_the_session_and_changes_nothing(browser):
    with browser.request() as session:
        session["a"] = 1
    with browser.request() as session:
        assert session | {} == {} | session == {"a": 1}
        assert session.is_accessed()
    assert browser.received == []


@pytest.mark.parametrize("change", [lambda session: session.__ior__({"a": 2}), lambda session: session.popitem()])
def test_what_changes_it_raises_once_the_headers_are_out(browser, change):
    with browser.request() as session:
        session["a"] = 1
    with pytest.raises(SessionClosed):
        change(session)


@pytest.mark.parametrize("change", [lambda session: session.__ior__({}), lambda session: session.clear()])
def test_what_changes_nothing_starts_no_session(browser, change):
    with browser.request() as session:
        change(session)
        assert not session.is_active()
    assert browser.received == []
