from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from harness.errors import MissingPartError
from harness.network import obtain
from harness.network.obtain import cache_dir, find_toxiproxy

FAKE_GO = """#!/bin/sh
echo "$@" >> {calls}
{body}
"""
BUILDS = 'printf "#!/bin/sh\\n" > "$GOBIN/server" && chmod +x "$GOBIN/server"'


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """No toxiproxy anywhere: an empty PATH but for /bin's tools, an empty cache."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "chmod", "printf", "sleep"):
        (tools / tool).symlink_to(
            f"/bin/{tool}" if Path(f"/bin/{tool}").exists() else f"/usr/bin/{tool}"
        )
    monkeypatch.delenv("SQUALL_TOXIPROXY", raising=False)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def with_go(bare: Path, body: str) -> Path:
    calls = bare / "calls"
    program(bare / "tools" / "go", FAKE_GO.format(calls=calls, body=body))
    return calls


def test_the_variable_comes_first(bare, monkeypatch):
    program(bare / "tools" / "toxiproxy-server")
    mine = program(bare / "mine")
    monkeypatch.setenv("SQUALL_TOXIPROXY", str(mine))
    assert find_toxiproxy() == mine


def test_a_variable_that_points_nowhere_is_an_error_and_not_passed_over(bare, monkeypatch):
    program(bare / "tools" / "toxiproxy-server")
    monkeypatch.setenv("SQUALL_TOXIPROXY", str(bare / "nothing"))
    with pytest.raises(MissingPartError, match="SQUALL_TOXIPROXY=.*nothing"):
        find_toxiproxy()


def test_then_the_path(bare):
    found = program(bare / "tools" / "toxiproxy-server")
    assert find_toxiproxy() == found


def test_then_the_cache(bare):
    cached = program(cache_dir() / f"toxiproxy-{obtain.VERSION}" / "toxiproxy-server")
    calls = with_go(bare, BUILDS)
    assert find_toxiproxy() == cached
    assert not calls.exists()


def test_else_go_builds_it_into_the_cache_and_says_so(bare):
    calls = with_go(bare, BUILDS)
    said: list[str] = []
    path = find_toxiproxy(said.append)
    assert path == cache_dir() / "toxiproxy-2.12.0" / "toxiproxy-server"
    assert os.access(path, os.X_OK)
    assert calls.read_text() == "install github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0\n"
    assert len(said) == 1
    assert "building toxiproxy 2.12.0" in said[0]
    assert find_toxiproxy() == path
    assert len(calls.read_text().splitlines()) == 1
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "toxiproxy-server",
        "toxiproxy-server.lock",
    ]


def test_what_go_builds_is_static_so_that_it_runs_in_containers_too(bare, monkeypatch):
    monkeypatch.setenv("CGO_ENABLED", "1")
    calls = with_go(bare, f'echo "cgo $CGO_ENABLED" >> {bare}/calls\n{BUILDS}')
    find_toxiproxy()
    assert calls.read_text().splitlines()[1:] == ["cgo 0"]


def test_two_at_once_build_once(bare):
    calls = with_go(bare, "sleep 0.3\n" + BUILDS)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(find_toxiproxy())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 2
    assert len(calls.read_text().splitlines()) == 1


def test_a_failed_build_says_why_and_leaves_nothing_to_run(bare):
    with_go(bare, 'echo "no network today" >&2; exit 1')
    with pytest.raises(MissingPartError, match="no network today"):
        find_toxiproxy()
    assert not (cache_dir() / "toxiproxy-2.12.0" / "toxiproxy-server").exists()


def test_without_go_the_error_says_how_to_get_it(bare):
    with pytest.raises(MissingPartError) as caught:
        find_toxiproxy()
    for way in (
        "PATH",
        "SQUALL_TOXIPROXY",
        "go install github.com/Shopify/toxiproxy/v2/cmd/server",
    ):
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_said(bare, monkeypatch):
    with_go(bare, BUILDS)
    blocker = bare / "file"
    blocker.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    with pytest.raises(MissingPartError, match="can't keep toxiproxy"):
        find_toxiproxy()
