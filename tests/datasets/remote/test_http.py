"""The session with servers: patience, resumption, bounds and messages, against real servers."""

import threading
import time
import tomllib
from pathlib import Path

import pytest

from datasets.remote.http import USER_AGENT, Http, Patience, RemoteError
from datasets.remote.urls import short_url, without_secrets
from tests.servers import EVER, Fault, Server

CONTENT = bytes(range(256)) * 200
QUICK = Patience(attempts=3, pause_s=0, connect_s=2, read_s=0.3)


@pytest.fixture
def server():
    with Server() as running:
        running.files["/a.tif"] = CONTENT
        yield running


@pytest.fixture
def http():
    with Http(patience=QUICK) as session:
        yield session


def test_a_server_is_asked_politely(server, http):
    for _ in range(3):
        assert http.get(f"{server.url}/a.tif", kinds=("image/",)).content == CONTENT
    assert {request.headers["User-Agent"] for request in server.requests} == {USER_AGENT}
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert USER_AGENT.startswith(f"rose/{project['version']} ")


def test_few_connections_whatever_the_threads(server):
    server.fault("/a", Fault(times=EVER, wait_s=0.01))
    with Http(connections=2, patience=QUICK) as http:
        threads = [threading.Thread(target=http.get, args=(f"{server.url}/a.tif",))
                   for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.requests) == 12
    assert server.most_at_once <= 2


@pytest.mark.parametrize("fault", [
    Fault(503, 2), Fault(429, 2, headers={"Retry-After": "0"}), Fault(after=1000, times=2),
    Fault(after=0, times=2), Fault(wait_s=0.5, times=2),
])
def test_what_fails_twice_comes_at_last(server, http, tmp_path, fault):
    server.fault("/a", fault)
    assert http.get(f"{server.url}/a.tif").content == CONTENT
    fault.times = 2
    path = http.download(f"{server.url}/a.tif", tmp_path / "a.tif")
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [path]


def test_retry_after_is_obeyed(server):
    server.fault("/a", Fault(429, 1, headers={"Retry-After": "1"}))
    before = time.monotonic()
    with Http(patience=Patience(attempts=2, pause_s=0)) as http:
        http.get(f"{server.url}/a.tif")
    assert time.monotonic() - before >= 1


PAGE = b"<!DOCTYPE html><html><title>Sign in</title><script>a()</script></html>"


@pytest.mark.parametrize(("fault", "words", "status", "count"), [
    (Fault(403, EVER, b"<p>Access denied</p>"), ["403 Forbidden (Access denied)", "a key"], 403, 1),
    (Fault(404, EVER, b"gone"), ["404 Not Found (gone)", "nothing at this address"], 404, 1),
    (Fault(429, EVER), ["429", "too many requests", "same command again"], 429, 3),
    (Fault(429, EVER, headers={"Retry-After": "4000"}), ["wait for 4000 s"], 429, 1),
    (Fault(500, EVER), ["500 Internal Server Error", "a fault of its own"], 500, 3),
    (Fault(200, EVER, PAGE, "text/html"), ["a web page (Sign in)", "image/*"], None, 1),
    (Fault(200, EVER, PAGE, "image/png"), ["a web page (Sign in)"], None, 1),
    (Fault(200, EVER, b"{}", "application/json"), ["application/json ({})"], None, 1),
    (Fault(after=1000, times=EVER), ["stops midway, after 1000 of 51200 bytes", "3 times"], None,
     3),
    (Fault(wait_s=1, times=EVER), ["slow: no answer within 0.3 s"], None, 3),
    (Fault(302, EVER, b"", headers={"Location": "file:///etc/passwd"}), ["neither http nor https"],
     None, 1),
    (Fault(302, EVER, b"", headers={"Location": "/a.tif"}), ["in a circle"], None, 9),
])
def test_a_refusal_is_one_line(server, http, fault, words, status, count):
    server.fault("/a", fault)
    with pytest.raises(RemoteError) as error:
        http.get(f"{server.url.replace('//', '//me:secret@')}/a.tif?token=hidden",
                 kinds=("image/",))
    message = str(error.value)
    assert message.startswith(f"{server.url}/a.tif: ")
    assert "\n" not in message
    for word in words:
        assert word in message
    assert "hidden" not in message
    assert "secret" not in message
    assert error.value.status == status
    assert len(server.requests) == count


def test_a_server_that_trickles_is_given_up(server):
    server.fault("/a", Fault(times=EVER, pace_s=0.05))
    slow = Patience(attempts=1, read_s=0.2, least_bytes_per_s=1e6)
    with Http(patience=slow) as http, pytest.raises(RemoteError, match="bytes a second"):
        http.get(f"{server.url}/a.tif")


def test_nobody_there_is_one_line(http):
    with Server() as gone:
        pass
    with pytest.raises(RemoteError, match="refuses the connection; look at the network"):
        http.get(f"{gone.url}/a.tif")
    with pytest.raises(RemoteError, match=r"^http://no\.such\.invalid/a: no host of this name"):
        http.get("http://no.such.invalid/a")
    with pytest.raises(RemoteError, match="expected http"):
        http.get("file:///etc/passwd")


def test_an_answer_is_bounded(server, http, tmp_path):
    for ask in (lambda: http.get(f"{server.url}/a.tif", most_bytes=1000),
                lambda: http.download(f"{server.url}/a.tif", tmp_path / "a", most_bytes=1000)):
        with pytest.raises(RemoteError, match="51,200 bytes, expected 1,000 at most"):
            ask()
    assert not (tmp_path / "a").exists()


def stopped(server: Server, folder: Path, after: int = 20_000) -> None:
    """Begin a download that stops after some bytes."""
    server.fault("/a", Fault(after=after))
    with Http(patience=Patience(attempts=1)) as http, pytest.raises(RemoteError, match="midway"):
        http.download(f"{server.url}/a.tif", folder / "a.tif")
    assert not (folder / "a.tif").exists()


def test_a_stopped_download_is_continued(server, http, tmp_path):
    stopped(server, tmp_path)
    seen = []
    http.download(f"{server.url}/a.tif", tmp_path / "a.tif",
                  progress=lambda done, total: seen.append((done, total)))
    assert server.requests[-1].range == "bytes=20000-"
    assert (tmp_path / "a.tif").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_download_begins_anew_where_the_file_has_changed(server, http, tmp_path):
    stopped(server, tmp_path)
    server.files["/a.tif"] = CONTENT[::-1]
    http.download(f"{server.url}/a.tif", tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == CONTENT[::-1]


def test_a_range_of_another_file_is_not_put_to_the_first_part(server, http, tmp_path):
    stopped(server, tmp_path)
    changed = CONTENT[::-1]
    server.files["/a.tif"] = changed
    server.fault("/a", Fault(206, 1, changed[20000:], headers={  # without regard to If-Range
        "ETag": '"other"', "Content-Range": f"bytes 20000-{len(changed) - 1}/{len(changed)}"}))
    http.download(f"{server.url}/a.tif", tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == changed


def test_the_start_of_a_file_comes_in_small_pieces(server, http):
    server.fault("/a", Fault(pace_s=0.001))
    assert http.start(f"{server.url}/a.tif", 1000) == CONTENT[:1000]


@pytest.mark.parametrize("missing", ["ranges", "etags"])
def test_a_download_begins_anew_where_the_server_cannot_continue(server, http, tmp_path, missing):
    setattr(server, missing, False)
    stopped(server, tmp_path)
    http.download(f"{server.url}/a.tif", tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes() == CONTENT


def test_a_form_is_sent(server, http, tmp_path):
    server.files["/api"] = lambda request: (request.method.encode() + b" " + request.body,
                                            "application/xml")
    http.download(f"{server.url}/api", tmp_path / "a.osm", data={"data": "[out:xml];"})
    assert (tmp_path / "a.osm").read_bytes() == b"POST data=%5Bout%3Axml%5D%3B"


def test_records_and_messages_show_no_secret():
    url = ("https://me:secret@tiles.example.com:8080/{z}/{x}/{y}.png?layer=a/b&api_key=123"
           "&X-Amz-Signature=456&tk=789")
    assert short_url(url) == "https://tiles.example.com:8080/{z}/{x}/{y}.png"
    assert without_secrets(url) == ("https://tiles.example.com:8080/{z}/{x}/{y}.png?layer=a/b"
                                    "&api_key=KEY&X-Amz-Signature=KEY&tk=KEY")
    assert without_secrets("chips/*.tif") == "chips/*.tif"


@pytest.mark.parametrize(("url", "record"), [
    ("WMTS:https://h/w?token=secret,layer=a", "WMTS:https://h/w?token=KEY,layer=a"),
    ("https://h/w?token=secret,layer=b", "https://h/w?token=KEY,layer=b"),
    ("https://h/{z}/{x}/{y}?url=https%3A%2F%2Fs%2Fa.tif%3Fsig%3Dsecret",
     "https://h/{z}/{x}/{y}?url=https://s/a.tif%3Fsig%3DKEY"),
    ("https://h/a.tif?se=2026-01-01&sp=r&sig=secret", "https://h/a.tif?se=KEY&sp=KEY&sig=KEY"),
    ("https://h/w?se=1", "https://h/w?se=1"),
    ("/vsicurl/https://me:secret@h/a.tif", "/vsicurl/https://h/a.tif"),
    ("ftp://me:secret@h/a.tif", "ftp://h/a.tif"),
    ("https://me:secret@[::1/a.tif?key=secret", "https://[::1/a.tif"),
])
def test_no_form_of_an_address_shows_a_secret(url, record):
    assert without_secrets(url) == record
    assert "secret" not in short_url(url)
