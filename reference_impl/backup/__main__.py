"""`python -m reference_impl.backup restore NODE.json DATA_DIR [UNTIL]`: a data directory from the "store" links of a node.

UNTIL is a time with its zone, as in 2026-11-24T19:00:00+00:00. PostgreSQL, started on DATA_DIR as its owner, recovers by itself.
"""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from reference_impl.backup.programs import PostgresPrograms
from reference_impl.backup.restore import RestoreError, RestorePoint, restore
from reference_impl.clock import NS
from reference_impl.config import ConfigError, NodeConfig, load
from reference_impl.objectstore.http import HttpObjectStore, StoreSettings
from reference_impl.resilience.http import HttpClient

USAGE: Final = "usage: python -m reference_impl.backup restore NODE.json DATA_DIR [UNTIL]"


def main(argv: list[str]) -> int:
    """0: restored, the restore point is on stdout as JSON; 1: nothing could be; 2: bad usage."""
    match argv:
        case ["restore", node, data_dir, *rest] if len(rest) <= 1:
            try:
                config = load(node)
                until = _unix_ns(rest[0]) if rest else None
            except (ConfigError, ValueError) as error:
                print(error, file=sys.stderr)
                return 2
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    try:
        point = asyncio.run(_restore(config, Path(data_dir), until))
    except RestoreError as error:
        print(error, file=sys.stderr)
        return 1
    print(msgspec.json.format(msgspec.json.encode(point), indent=1).decode())
    return 0


async def _restore(config: NodeConfig, data_dir: Path, until: int | None) -> RestorePoint:
    http = HttpClient()
    settings = msgspec.convert(config.settings.get("store", {}), StoreSettings)
    chance = random.Random(config.seed)
    stores = [HttpObjectStore(link, settings, http, chance) for link in config.upstreams("store")]
    try:
        return await restore(stores, data_dir, PostgresPrograms(), until)
    finally:
        await http.close()


def _unix_ns(text: str) -> int:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return round(at.timestamp() * NS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
