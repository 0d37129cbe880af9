"""What the engine says, mapped at the border: with an engine that is not there, old, or refuses."""

from __future__ import annotations

import json
import socket
import threading

import docker.errors
import pytest

from harness.errors import MissingPartError, RuntimeFailure
from harness.runtime.containers import engine as engines


@pytest.fixture
def answering(tmp_path):
    """A server on a socket that gives every request the same answer."""
    made = []

    def start(status: int, body: object) -> str:
        path = tmp_path / "engine.sock"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        made.append(server)
        raw = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(head.encode() + raw)

        threading.Thread(target=serve, daemon=True).start()
        return f"unix://{path}"

    yield start
    for server in made:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_no_engine(tmp_path):
    with pytest.raises(
        MissingPartError, match="there is no such socket; start it, or set DOCKER_HOST"
    ):
        engines.connect(f"unix://{tmp_path}/none.sock")


def test_nobody_listens(tmp_path):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead.sock"))
    dead.close()
    with pytest.raises(MissingPartError, match="nobody listens there"):
        engines.connect(f"unix://{tmp_path}/dead.sock")


def test_an_old_engine(answering):
    url = answering(200, {"ApiVersion": "1.24", "Version": "1.12.6"})
    with pytest.raises(MissingPartError, match=r"too old: 1.12.6 has API 1.24, 1.40 is needed"):
        engines.connect(url)


@pytest.mark.parametrize("url", ["tcp://198.51.100.7:2376", "ssh://somebody@198.51.100.7"])
def test_an_engine_on_another_machine_is_refused_with_the_reason(monkeypatch, url):
    monkeypatch.setenv("DOCKER_HOST", url)
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    with pytest.raises(MissingPartError, match="probes send to containers' own addresses"):
        engines.engine_url()


def test_words_that_cannot_be_right(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "none"))
    with pytest.raises(MissingPartError, match="DOCKER_HOST and its like can't be right"):
        engines.engine_url()


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, "is a rootless engine"),
        ({"OperatingSystem": "Docker Desktop"}, "is Docker Desktop, whose networks"),
        ({"OperatingSystem": "Debian GNU/Linux 12", "SecurityOptions": None}, ""),
    ],
)
def test_an_engine_whose_networks_are_elsewhere(info, said):
    class Client:
        api = type("Api", (), {"info": staticmethod(lambda: info)})

    engine = engines.Engine("unix:///x.sock", Client(), "20.10")
    if not said:
        engine.must_be_here()
        return
    with pytest.raises(MissingPartError, match=said):
        engine.must_be_here()


def test_the_engine_that_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/my.sock")
    assert engines.engine_url().endswith("/my.sock")
    monkeypatch.delenv("DOCKER_HOST")
    assert engines.engine_url() == engines.DEFAULT_URL


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("write /var/x: no space left on device", "the disk is full"),
        ("something\nover two lines", "something over two lines"),
    ],
)
def test_errors_are_one_line(said, told):
    with pytest.raises(RuntimeFailure, match=told) as caught, engines._mapped("start x"):
        raise docker.errors.APIError("500", explanation=said)
    assert "\n" not in str(caught.value)


def test_a_range_that_is_taken():
    said = "Pool overlaps with other one on this address space"
    with pytest.raises(engines.OverlapError), engines._mapped("network x"):
        raise docker.errors.APIError("403", explanation=said)
