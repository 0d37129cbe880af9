from __future__ import annotations

import pytest

from reference_impl.config import Listen, NodeConfig

CLIENTS = {
    "127.10.1.231": "americas",
    "198.19.249.128/26": "europe",
    "198.19.249.130": "staff",
}


@pytest.mark.parametrize(
    ("source", "group"),
    [
        ("127.10.1.231", "americas"),
        ("127.10.1.232", None),
        ("198.19.249.129", "europe"),
        ("198.19.249.191", "europe"),
        ("198.19.249.192", None),
        ("198.19.249.130", "staff"),  # its own address says more than its network
    ],
)
def test_a_client_group_is_addresses_or_a_network(source, group):
    config = NodeConfig(
        name="front", role="anycast", listen=Listen("127.0.0.1", 0), clients=CLIENTS
    )
    assert config.group_of(source) == group
