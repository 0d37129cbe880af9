from __future__ import annotations

import pytest

from harness.runtime.warden_client import WardenProcess


@pytest.fixture(scope="session")
def warden(squall_home):
    with WardenProcess.start(["tests.runtime.toy"]) as process:
        yield process
    assert not process.room.path.exists()
