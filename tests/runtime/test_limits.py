"""A process that may write to no file, and may again; its children as well."""

import os
import subprocess
import sys

import pytest

from harness.runtime import limits

# Writes a byte each time it is told to, and says how that went.
WRITER = """
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for line in sys.stdin:
    try:
        os.pwrite(file, b"x", 0)
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


@pytest.fixture
def writer(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.stdin.close()
        process.wait(10)


def asked(process):
    process.stdin.write("again\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_each_write_fails_until_it_is_lifted(writer):
    assert asked(writer) == "written"
    assert not limits.limited(writer.pid)
    for _ in range(2):
        limits.fill([writer.pid])
    assert limits.limited(writer.pid)
    assert asked(writer) == "File too large"
    for _ in range(2):
        limits.lift([writer.pid])
    assert not limits.limited(writer.pid)
    assert asked(writer) == "written"


def test_what_is_gone_is_passed_over():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(10)
    limits.fill([gone.pid])
    limits.lift([gone.pid])
    assert not limits.limited(gone.pid)
    assert not limits.limited(os.getpid())
