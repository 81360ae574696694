import json
import signal
import socket
import threading
from http.client import HTTPConnection
from wsgiref.simple_server import make_server

import pytest

from gaesess.demo import server


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_the_demo_ends_at_a_signal_cleanly_and_quietly(run_demo, signal_number):
    with run_demo() as demo:
        assert demo.stop(signal_number) == (0, "", "")


def test_the_store_is_a_file_that_goes_with_the_demo(run_demo, tmp_path):
    with run_demo(TMPDIR=str(tmp_path)) as demo:
        assert [path.name for path in tmp_path.glob("*/*.sqlite")] == ["sessions.sqlite"]
        demo.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_is_too_large_is_answered_and_not_cut_off(run_demo):
    with run_demo() as demo:
        connection = HTTPConnection(demo.url.split("/")[2])
        connection.request("POST", "/actions/put", b"x" * 500_000, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 413
        assert b"a body has at most 4096 bytes" in response.read()
        connection.close()


def test_a_connection_without_a_request_ends_without_a_traceback(monkeypatch, capfd):
    monkeypatch.setattr(server._Handler, "timeout", 0.05)
    with make_server("127.0.0.1", 0, None, server._Server, server._Handler) as listening:
        serving = threading.Thread(target=listening.handle_request)
        serving.start()
        with socket.create_connection(listening.server_address) as idle:
            assert idle.recv(1) == b""
        serving.join()
    assert capfd.readouterr().err == ""


def test_every_event_is_told_as_it_happens_and_names_no_session_id(run_demo):
    with run_demo() as demo:
        address = demo.url.split("/")[2]
        listening = HTTPConnection(address, timeout=30)
        listening.request("GET", "/events")
        feed = listening.getresponse()
        assert feed.getheader("Content-Type") == "text/event-stream"
        assert (feed.readline(), feed.readline()) == (b": listening\n", b"\n")
        acting = HTTPConnection(address)
        acting.request("POST", "/actions/sign-in", b'{"name": "Ada"}', {"Content-Type": "application/json"})
        cookie = acting.getresponse().getheader("Set-Cookie")
        told = json.loads(feed.readline().removeprefix(b"data: "))
        assert (told["name"], told["level"], told["fields"]["home"]) == ("committed", 10, "cookie")
        assert told["fields"]["session"] not in cookie
        acting.close()
        listening.close()
