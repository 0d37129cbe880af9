"""The smallest platform with users, and a scenario of about three seconds on it, for tests of what surrounds a run."""

from __future__ import annotations

from pathlib import Path

TOPOLOGY = """\
name: small
program: reference_impl.main
regions: {r: [z]}
nodes:
  db: {role: postgres, zone: z}
  api-1: {role: api, zone: z}
  stream-1: {role: stream, zone: z}
  pop-1: {role: pop, zone: z}
links:
  - {from: [api-1, stream-1], to: db, as: db}
  - {from: pop-1, to: stream-1, as: stream}
  - {from: pop-1, to: api-1, as: origin}
endpoints: {evaluate: pop-1, write: api-1}
"""

SCENARIO = """\
title: The link to the origin is cut; users are served from what the PoP has
requirements: [P3]
topology: ../topologies/small.yaml
lasts: 2s
flags: {banner: true}
probes:
  - evaluate: {name: users, rate: 20, keys: [banner]}
steps:
  - phase: cut
  - inject: {cut: 'pop-1->api-1'}
  - wait: 1s
  - heal: cut
  - phase: healed
  - wait: 500ms
checks:
  - availability: {requirement: P3, probe: users, max_failed: 0}
"""

# No platform answers so soon.
BROKEN = "  - availability: {requirement: E2, probe: users, p99: 1us}\n"


def write_small(folder: Path, name: str = "small-cut", *, broken: bool = False) -> Path:
    """`folder`/scenarios/<name>.yaml and its topology; `broken` adds a promise that no platform keeps."""
    for kind in ("scenarios", "topologies"):
        (folder / kind).mkdir(exist_ok=True)
    (folder / "topologies" / "small.yaml").write_text(TOPOLOGY)
    path = folder / "scenarios" / f"{name}.yaml"
    promised = SCENARIO.replace("[P3]", "[P3, E2]") + BROKEN
    path.write_text(promised if broken else SCENARIO)
    return path
