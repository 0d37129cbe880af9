from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from harness.runtime.home import default_base


@pytest.fixture(scope="session")
def squall_home():
    """A directory of our own, so that no test sees, or sweeps, what belongs to somebody else."""
    home = Path(tempfile.mkdtemp(prefix="sq-", dir=default_base()))
    home.chmod(0o711)
    before = os.environ.get("SQUALL_DIR")
    os.environ["SQUALL_DIR"] = str(home)
    yield home
    if before is None:
        del os.environ["SQUALL_DIR"]
    else:
        os.environ["SQUALL_DIR"] = before
    shutil.rmtree(home)
