"""Where 1.07 keeps its larger sessions: App Engine's memcache, and entities of the kind SessionModel."""

from contextlib import contextmanager

import pytest
import services
from browser import Browser
from gae_sessions_1_07 import NOW, cookie_value, cookies, make_sid, session_pickle
from google.appengine.api import apiproxy_stub_map, memcache, namespace_manager
from google.appengine.datastore import datastore_stub_util
from google.appengine.ext import db, testbed
from google.appengine.runtime import apiproxy_errors
from google.cloud import ndb

from gaesess import StoreUnavailable
from gaesess.errors import MalformedToken
from gaesess.legacy import appengine
from gaesess.legacy.datastore import DatastoreSource

SID, OTHER = make_sid(NOW + 86_400), make_sid(NOW + 86_400, name="f" * 32)
PICKLE = session_pickle({b"text": b"x" * 20_000})
APP_ENGINE = {"memcache": appengine.MemcacheSource, "datastore_v3": appengine.DatastoreSource}


class SessionModel(db.Model):
    """As 1.07 has it."""

    pdump = db.BlobProperty()


@pytest.fixture
def app_engine():
    """Run App Engine's services, with one session as 1.07 saves it."""
    bed = testbed.Testbed()
    bed.activate()
    bed.init_memcache_stub()
    policy = datastore_stub_util.PseudoRandomHRConsistencyPolicy(probability=1)
    bed.init_datastore_v3_stub(consistency_policy=policy, use_sqlite=False)
    memcache.set(SID, PICKLE, namespace="")
    SessionModel(key_name=SID, pdump=PICKLE).put()
    yield bed
    bed.deactivate()


@pytest.fixture
def cloud_client(datastore_emulator, monkeypatch):
    """A client of the emulator, where one session is as 1.07 saves it."""
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", datastore_emulator)
    client = ndb.Client(project=services.PROJECT)
    with client.context():
        entity = type("SessionModel", (ndb.Model,), {"pdump": ndb.BlobProperty()})(id=SID, pdump=PICKLE)
        entity.put()
    yield client
    client.stub.close()


@contextmanager
def failing(service):
    def fail(*call):
        raise apiproxy_errors.DeadlineExceededError("late")

    hooks = apiproxy_stub_map.apiproxy.GetPreCallHooks()
    hooks.Append("fail", fail, service)
    try:
        yield
    finally:
        hooks.Clear()


@pytest.mark.parametrize("make_source", APP_ENGINE.values(), ids=APP_ENGINE)
def test_app_engine_has_a_session_or_has_it_not(app_engine, make_source):
    assert make_source().get(SID) == PICKLE
    assert make_source().get(OTHER) is None


@pytest.mark.parametrize("make_source", APP_ENGINE.values(), ids=APP_ENGINE)
def test_the_namespace_of_a_request_does_not_matter(app_engine, make_source):
    namespace_manager.set_namespace("tenant")
    try:
        assert make_source().get(SID) == PICKLE
    finally:
        namespace_manager.set_namespace("")


@pytest.mark.parametrize(("service", "make_source"), APP_ENGINE.items(), ids=APP_ENGINE)
def test_an_outage_of_app_engine_is_no_miss(app_engine, service, make_source):
    with failing(service), pytest.raises(StoreUnavailable, match="DeadlineExceededError"):
        make_source().get(SID)


def test_a_transaction_of_the_application_plays_no_part(app_engine):
    assert db.run_in_transaction(lambda: appengine.DatastoreSource().get(SID)) == PICKLE


@pytest.mark.parametrize("values", [{}, {"pdump": None}, {"pdump": b""}], ids=["none", "null", "empty"])
def test_an_entity_without_data_is_reported_as_that(app_engine, values):
    type("SessionModel", (db.Expando,), {})(key_name=OTHER, **values).put()
    with pytest.raises(MalformedToken, match="has no session in its property pdump"):
        appengine.DatastoreSource().get(OTHER)


@pytest.mark.parametrize("values", [{}, {"pdump": None}, {"pdump": b""}, {"pdump": "text"}])
def test_an_entity_without_data_in_the_cloud_is_reported_as_that(cloud_client, values):
    with cloud_client.context():
        key = type("SessionModel", (ndb.Expando,), {})(id=OTHER, **values).put()
    try:
        with pytest.raises(MalformedToken, match="has no session in its property pdump"):
            DatastoreSource(cloud_client).get(OTHER)
    finally:
        with cloud_client.context():
            key.delete()


def test_a_session_whose_entity_has_no_data_is_refused_with_the_reason(cloud_client, make_manager, accept, told):
    with cloud_client.context():
        key = type("SessionModel", (ndb.Expando,), {})(id=OTHER).put()
    try:
        browser = Browser(make_manager(legacy=accept(sources=[DatastoreSource(cloud_client)])))
        browser.cookies = cookies(cookie_value(b"", OTHER))
        assert browser.data() == {}
    finally:
        with cloud_client.context():
            key.delete()
    (refused,) = [event for event in told if event.name == "token_refused"]
    assert "has no session in its property pdump" in refused.message


def test_the_cloud_has_a_session_or_has_it_not(cloud_client):
    source = DatastoreSource(cloud_client)
    assert source.get(SID) == PICKLE
    assert source.get(OTHER) is None


def test_an_outage_of_the_cloud_is_no_miss(monkeypatch):
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", f"127.0.0.1:{services.free_port()}")
    with pytest.raises(StoreUnavailable):
        DatastoreSource(lambda: ndb.Client(project=services.PROJECT), timeout=0.5).get(SID)


def test_a_session_from_memcache_or_datastore_is_taken_over(app_engine, make_manager, accept):
    sources = [appengine.MemcacheSource(), appengine.DatastoreSource()]
    for forget in (lambda: None, memcache.flush_all):
        forget()
        browser = Browser(make_manager(legacy=accept(sources=sources), store=None, cookie_only_threshold=30_000))
        browser.cookies = cookies(cookie_value(b"", SID))
        assert browser.data() == {"text": "x" * 20_000}


def test_a_session_from_the_cloud_is_taken_over(cloud_client, make_manager, accept):
    browser = Browser(make_manager(legacy=accept(sources=[DatastoreSource(cloud_client)])))
    browser.cookies = cookies(cookie_value(b"", SID))
    assert browser.data() == {"text": "x" * 20_000}
