"""The image that clusters' containers are made from: built once from what goes into it, and tagged with the hash of that."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import docker
import docker.errors
import requests.exceptions
import urllib3.exceptions

from harness.errors import MissingPartError, RuntimeFailure
from harness.network.obtain import cache_dir, find_toxiproxy
from harness.runtime.home import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

REPOSITORY = "squall-node"
BASE_VARIABLE, OWN_BASE, PUBLIC_BASE = "SQUALL_BASE", "squall-base:bookworm", "python:3.11-slim"
ROOT = Path(__file__).resolve().parents[3]
OLDEST_PYTHON = (3, 11)
LABEL = "squall.build"  # of containers that are gone in a second

BUILD_WITHIN = 900.0  # s, as for a pull; an idle machine takes one minute
SILENT_WITHIN = 180  # s; a step may say nothing until it is done
DOWNLOAD_WITHIN = 300.0
PYTHON_WITHIN = 30  # s, for Python to say its version

_BUILDERS_OWN_WORDS = re.compile(r"Step \d|Removing intermediate| ---> ")
_LATE = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
_COLOURS = re.compile(r"\x1b\[[\d;]*m")


def ensure_image(client: docker.DockerClient, say: Callable[[str], None]) -> str:
    """The tag of the image of what is in this clone now, built first if need be; `say` is told before what takes long.

    Raises `MissingPartError` for what is missing or does not build, `SquallError` for an engine that fails.
    """
    try:
        return _ensure(client, say)
    except OSError as error:  # this machine's; the engine's are mapped where they arise
        raise MissingPartError(f"can't make the image for containers: {_why(error)}") from error


def _ensure(client: docker.DockerClient, say: Callable[[str], None]) -> str:
    parts = _sources(ROOT)
    base, base_id = _base(client, say)
    parts["toxiproxy-server"] = find_toxiproxy(say).read_bytes()
    tag = f"{REPOSITORY}:{_digest(parts, base_id)}"
    if _find(client, tag) is None:
        room = cache_dir()
        room.mkdir(parents=True, exist_ok=True)
        with locked(room / "image.lock", BUILD_WITHIN):
            if _find(client, tag) is None:  # another run may have built it while this one waited
                _build(client, tag, base, parts, say)
    return tag


def _find(client: docker.DockerClient, name: str) -> str | None:
    """The image's id; None where the engine has no such image."""
    with _mapped(f"look for {name}"):
        try:
            return str(client.images.get(name).id)
        except docker.errors.ImageNotFound:
            return None


# ------------------------------------------------------------------------------------------------- what goes into it


def _sources(root: Path) -> dict[str, bytes]:
    """What of the clone at `root` goes into the image, by its name in the build's context.

    Read once, so that what is built is what was hashed, whoever edits it meanwhile.
    """
    paths = {
        "Dockerfile": root / "image" / "Dockerfile",
        "constraints.txt": root / "constraints.txt",
    }
    code = root / "reference_impl"
    missing = next((path for path in (*paths.values(), code) if not path.exists()), None)
    if missing is not None:
        raise MissingPartError(
            f"{missing} is missing: the image for containers is built from a clone of squall's repository; "
            "install squall from one ('pip install -e .')"
        )
    for path in code.rglob("*"):
        name = path.relative_to(root)
        if path.is_file() and "__pycache__" not in name.parts:
            paths[name.as_posix()] = path
    return {name: path.read_bytes() for name, path in paths.items()}


def _digest(parts: Mapping[str, bytes], base_id: str) -> str:
    digest = hashlib.sha256(base_id.encode())
    for name, content in sorted(parts.items()):
        digest.update(f"\n{hashlib.sha256(content).hexdigest()} {name}".encode())
    return digest.hexdigest()[:12]


def _base(client: docker.DockerClient, say: Callable[[str], None]) -> tuple[str, str]:
    """Name and id of the image to build upon, pulled first if need be."""
    named = os.environ.get(BASE_VARIABLE)
    for name in (named,) if named else (OWN_BASE, PUBLIC_BASE):
        if found := _find(client, name):
            return name, found
    name = named or PUBLIC_BASE
    say(f"pulling the base image {name} (once)")
    try:
        return name, _pull(client, name)
    except RuntimeFailure as error:
        raise MissingPartError(
            f"the base image {name} is not here and can't be pulled ({error}): run image/make-base as root, or set "
            f"{BASE_VARIABLE} to an image of Debian with Python that is here"
        ) from error


def _pull(client: docker.DockerClient, name: str) -> str:
    for event in _events(lambda: client.api.pull(name, stream=True, decode=True), "pull"):
        if "error" in event:
            raise RuntimeFailure(_why(event["error"]))
    found = _find(client, name)
    if found is None:
        raise RuntimeFailure("the engine did not say why")
    return found


def _python_in(client: docker.DockerClient, base: str) -> str:
    """The version of the image's Python, "3.11.2"."""
    program = "import sys; print('{}.{}.{}'.format(*sys.version_info))"
    with _mapped(f"ask {base} for its Python"):
        container = client.containers.create(
            base, ["-c", program], entrypoint=["python3"], network_mode="none", labels=[LABEL]
        )
        try:
            container.start()
            container.wait(timeout=PYTHON_WITHIN)
            said: str = container.logs().decode(errors="replace").strip()
        finally:
            container.remove(force=True)
    found = re.fullmatch(r"(\d+)\.(\d+)\.\d+", said)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise MissingPartError(
            f"the base image {base} needs Python ≥ {oldest}; it has {_why(said)}"
        )
    return said


# ------------------------------------------------------------------------------------------------------------ wheels


def _wheels(parts: Mapping[str, bytes], python: str, say: Callable[[str], None]) -> Path:
    """A folder of all wheels that the Dockerfile installs, for that version of Python; kept, so that it is filled once."""
    wanted = _wanted(parts["Dockerfile"].decode())
    recipe = "\n".join((python, platform.machine(), *wanted, "")).encode()
    digest = hashlib.sha256(recipe + parts["constraints.txt"]).hexdigest()[:12]
    kept = cache_dir() / f"wheels-{digest}"
    if not kept.exists():
        say(f"downloading the image's Python packages (once; they are kept in {kept})")
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix="download-") as room:
            constraints, filled = Path(room) / "constraints.txt", Path(room) / "wheels"
            constraints.write_bytes(parts["constraints.txt"])
            _download(wanted, python, constraints, filled)
            filled.rename(kept)
    return kept


def _wanted(dockerfile: str) -> list[str]:
    """The packages that the Dockerfile names, so that they are named once."""
    texts = re.findall(r'^ARG (?:PACKAGES|SERVERS)="([^"]*)"', dockerfile, re.MULTILINE)
    return " ".join(texts).replace("\\", " ").split()


def _download(wanted: list[str], python: str, constraints: Path, folder: Path) -> None:
    options = ["--only-binary", ":all:", "--python-version", python, "-c", str(constraints)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "-d", str(folder)]
    try:
        done = subprocess.run(  # noqa: S603 - our own Python
            [*command, *wanted],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingPartError(
            f"'pip download' for the image took over {DOWNLOAD_WITHIN:g} s"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        # The first of pip's errors says what is wrong, the last where to read about it.
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        said = next(iter((*errors, *reversed(lines))), "it did not say why")
        raise MissingPartError(f"'pip download' for the image failed: {_why(said)}")


# --------------------------------------------------------------------------------------------------------- the build


def _build(
    client: docker.DockerClient,
    tag: str,
    base: str,
    parts: Mapping[str, bytes],
    say: Callable[[str], None],
) -> None:
    wheels = _wheels(parts, _python_in(client, base), say)
    log = cache_dir() / f"{tag.replace(':', '-')}.log"
    say(f"building the image {tag} from {base} (once, about a minute)")
    with tempfile.TemporaryFile() as context:
        _pack(parts, wheels, context)
        _follow(
            _events(
                lambda: client.api.build(
                    fileobj=context,
                    custom_context=True,
                    tag=tag,
                    buildargs={"BASE": base, "PIP_NO_INDEX": "1"},
                    rm=True,
                    forcerm=True,
                    decode=True,
                    timeout=SILENT_WITHIN,
                ),
                "build",
            ),
            log,
        )
    if _find(client, tag) is None:
        raise _unbuilt("the engine stopped without a word", log)


def _pack(parts: Mapping[str, bytes], wheels: Path, file: IO[bytes]) -> None:
    """The build's context: a tar without the modes and owners of this clone, so that every clone makes the same image."""
    folders = {folder for name in parts for folder in PurePosixPath(name).parents}
    folders = (folders | {PurePosixPath("wheels")}) - {PurePosixPath()}
    with tarfile.open(fileobj=file, mode="w") as tar:
        for folder in sorted(folders):
            entry = tarfile.TarInfo(str(folder))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, content in parts.items():
            _add(tar, name, content)
        for path in sorted(wheels.iterdir()):
            _add(tar, f"wheels/{path.name}", path.read_bytes())
    file.seek(0)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    tar.addfile(entry, io.BytesIO(content))


def _follow(events: Iterable[dict[str, Any]], log: Path) -> None:
    """Write what is said to `log`. Raises `MissingPartError` with the reason when the build fails."""
    step = ""  # what the step that is under way has said
    with log.open("w", encoding="utf-8") as kept:
        for event in events:
            said = _COLOURS.sub("", event.get("stream") or event.get("error") or "")
            kept.write(said)
            if "error" in event:
                raise _unbuilt(_reason(step, said), log)
            step = said if said.startswith("Step ") else step + said


def _reason(step: str, error: str) -> str:
    """The error of a command that failed is its own text; why it failed is what it said last."""
    lines = [line for line in step.splitlines() if line.strip()]
    spoken = [line for line in lines if not _BUILDERS_OWN_WORDS.match(line)]
    full = next((line for line in (*spoken, error) if "no space left" in line.lower()), None)
    if full is not None:
        return _why(full)
    return _why(spoken[-1] if spoken and error.startswith("The command ") else error)


def _unbuilt(why: str, log: Path) -> MissingPartError:
    return MissingPartError(f"the image does not build: {why}; the whole log is in {log}")


# ------------------------------------------------------------------------------------------------- the engine's words


def _events(start: Callable[[], Iterable[dict[str, Any]]], what: str) -> Iterator[dict[str, Any]]:
    """What the engine tells of a job that takes long. Raises `RuntimeFailure`, also when it takes too long."""
    deadline = time.monotonic() + BUILD_WITHIN
    with _mapped(what):
        for event in start():
            yield event
            if time.monotonic() > deadline:
                raise RuntimeFailure(f"the container engine: {what}: over {BUILD_WITHIN:g} s")


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    """The errors of the docker package, and of those below it, end here."""
    try:
        yield
    except (docker.errors.DockerException, urllib3.exceptions.HTTPError, OSError) as error:
        raise RuntimeFailure(f"the container engine: {what}: {_why(error)}") from error


def _why(said: Exception | str) -> str:
    """One line."""
    if isinstance(said, _LATE):
        return "no answer in time"
    text = " ".join(str(getattr(said, "explanation", None) or said).split())
    return f"the disk is full ({text})" if "no space left" in text.lower() else text
