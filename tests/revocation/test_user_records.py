"""A user's record that says something else than we write: the user is signed out everywhere, and can sign in again."""

import pytest
from browser import Browser

from gaesess import _impl
from gaesess.drivers import run
from gaesess.records import History


def put(manager, user_id, payload):
    """Put a genuine record with other data in the place of a user's."""
    users = manager.config.users
    (identity,) = users._identities(user_id)
    stored = run(users._records.get_many([users._records.key(identity)]))[0]
    token = identity._replace(revision=1, payload=payload)
    run(users._records.write(token, stored.version, History().continued(0)))


@pytest.fixture
def browser(make_manager):
    browser = Browser(make_manager())
    with browser.request() as session:
        session.bind_user("ada")
    return browser


@pytest.mark.parametrize(
    "payload",
    [b"\xc1", _impl.dumps({}), _impl.dumps({"user": None}), _impl.dumps({"user": [1, None, [], "more"]})],
    ids=["cannot be read", "nothing", "no fields", "too many fields"],
)
def test_it_signs_the_user_out_and_they_can_sign_in_again(browser, make_manager, payload):
    put(browser.manager, "ada", payload)
    elsewhere = browser.copy(make_manager())
    assert elsewhere.data() == {}
    with elsewhere.request() as session:
        session.bind_user("ada")
        session["back"] = True
    assert elsewhere.data()["back"]
