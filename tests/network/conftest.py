from __future__ import annotations

import pytest

from tests.network.netlab import Daemon


@pytest.fixture(scope="session")
def daemon():
    with Daemon() as running:
        yield running
