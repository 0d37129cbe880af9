"""Nodes as processes of their own: started from a node file, ended by a signal."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from reference_impl.alerts.role import AlertSink
from reference_impl.config import Listen, Upstream, load
from reference_impl.main import main, run
from reference_impl.web import Tasks
from tests.reference_impl.support import START_WITHIN, node, own_host

RUN = [sys.executable, "-m", "reference_impl.main"]


def write_node(tmp_path, config):
    path = tmp_path / f"{config.name}.json"
    path.write_bytes(msgspec.json.encode(config))
    return str(path)


def get(host, path):
    connection = http.client.HTTPConnection(host, 8080, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_healthy(process, host):
    deadline = time.monotonic() + START_WITHIN
    while True:
        try:
            status, _ = get(host, "/health")
        except OSError as error:
            status = repr(error)
        if status == 200:
            return
        assert process.poll() is None, process.returncode
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("role", "links"),
    [
        ("advisor", {"watch": [("hub-1", "hub", "127.0.0.1", 1)]}),
        ("alerts", {}),
        ("dns", {"dns-primary": [("dns-1", "dns", "127.0.0.1", 1)]}),
        ("api", {"db": [("db", "postgres", "127.0.0.1", 1)]}),
        ("stream", {"db": [("db", "postgres", "127.0.0.1", 1)]}),
        (
            "hub",
            {
                "stream": [("stream-1", "stream", "127.0.0.1", 1)],
                "kv": [("kv", "redis", "127.0.0.1", 1)],
            },
        ),
    ],
)
def test_a_node_serves_without_its_neighbours_and_ends_when_told(tmp_path, role, links):
    host = own_host()
    path = write_node(tmp_path, node(f"{role}-1", role, host=host, port=8080, links=links))
    process = subprocess.Popen([*RUN, path], start_new_session=True)
    try:
        wait_healthy(process, host)
        status, body = get(host, "/status")
        state = json.loads(body)
        assert (status, state["node"], state["role"]) == (200, f"{role}-1", role)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (node("x", "alerts", colour="red"), "x: settings of role alerts: "),
        (node("x", "stream", heartbeat=-1), "x: settings of role stream: "),
        (node("x", "teapot"), "x: unknown role 'teapot'; known: advisor, "),
        (node("x", "hub"), "x: role hub needs a link with use 'stream'"),
    ],
)
def test_what_cannot_be_right_is_said_in_one_line(tmp_path, capsys, config, said):
    refused(write_node(tmp_path, config), said, capsys)


@pytest.mark.parametrize("content", [None, "{", '{"name": "x"}', '{"nonsense": 1}'])
def test_a_bad_file_is_said_in_one_line(tmp_path, capsys, content):
    path = tmp_path / "node.json"
    if content is not None:
        path.write_text(content)
    refused(str(path), f"{path}: ", capsys)


def refused(path, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main([path])
    assert caught.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith(said)
    assert errors.count("\n") == 1


PURE = """
import os, threading
before = set(os.listdir("/proc/self/fd"))
import reference_impl.main, asyncio
assert threading.active_count() == 1, threading.enumerate()
opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
          if fd not in before and os.path.exists(f"/proc/self/fd/{fd}")]
assert not opened, opened
assert asyncio._get_running_loop() is None
assert asyncio.get_event_loop_policy()._local._loop is None
"""


def test_importing_it_starts_nothing():
    subprocess.run([sys.executable, "-c", PURE], check=True, timeout=60)


VARIANT = """
import sys
from reference_impl.config import load
from reference_impl.main import ROLES, run

class Renamed(ROLES["alerts"]):
    def _status(self):
        return {**super()._status(), "role": "variant"}

run(load(sys.argv[1]), roles={**ROLES, "alerts": Renamed})
"""


def test_a_variant_takes_the_place_of_a_role(tmp_path):
    host = own_host()
    path = write_node(tmp_path, node("alerts", "alerts", host=host, port=8080))
    process = subprocess.Popen([sys.executable, "-c", VARIANT, path], start_new_session=True)
    try:
        wait_healthy(process, host)
        assert json.loads(get(host, "/status")[1])["role"] == "variant"
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0


class Dying(AlertSink):
    """A background task of it has a bug."""

    async def start(self):
        self.tasks = Tasks()
        self.tasks.start(self.fail, "the buggy one")

    async def stop(self):
        await self.tasks.stop()

    async def fail(self):
        raise ZeroDivisionError


def test_a_task_that_dies_ends_the_node(caplog):
    with pytest.raises(SystemExit) as caught:
        run(node("x", "alerts"), {"alerts": Dying})
    assert caught.value.code == 1
    assert "task the buggy one ended" in caplog.text


def test_a_node_file_is_read_as_the_architecture_writes_it(tmp_path):
    path = tmp_path / "pop-us.json"
    path.write_text(
        json.dumps(
            {
                "name": "pop-us", "role": "pop", "region": "us-east", "zone": "us-east-1a",
                "listen": {"host": "127.10.1.12", "port": 8080},
                "links": {
                    "stream": [
                        {
                            "to": "hub-us-1", "role": "hub", "host": "127.10.1.200", "port": 20007,
                            "address": "127.10.1.9",
                        }
                    ]
                },
                "clients": {"127.10.1.231": "americas"},
                "settings": {"poll_interval": 9.75},
                "seed": 42,
                "state_dir": "/x/pop-us",
            }
        )
    )  # fmt: skip
    config = load(path)
    assert config.listen == Listen("127.10.1.12", 8080)
    assert config.upstream("stream") == Upstream(
        "hub-us-1", "hub", "127.10.1.200", 20007, "127.10.1.9"
    )
    assert config.upstreams("kv") == ()
