"""`squall image`, `compose` and `doctor`: they need the docker package, which other commands need not load."""

from __future__ import annotations

import argparse

from harness.runtime.containers import compose as compose_file
from harness.runtime.containers import stack
from harness.runtime.containers.engine import connect
from harness.runtime.containers.image import ensure_image
from harness.runtime.containers.leases import clean_strays, find_strays
from harness.runtime.doctor import clean, find_leftovers
from harness.topology_yaml import load_topology, override

# ------------------------------------------------------------------------------------------- image, compose


def image(args: argparse.Namespace) -> int:
    """The name is given to what is built of this clone now."""
    engine = connect()
    try:
        built = ensure_image(engine.client, _tell)
        engine.tag(built, args.tag)
    finally:
        engine.close()
    print(f"{args.tag} is {built}")
    return 0


def compose(args: argparse.Namespace) -> int:
    topology = override(load_topology(args.topology), args.set)
    render = stack.render if args.swarm else compose_file.render
    print(render(topology), end="")
    return 0


# --------------------------------------------------------------------------------------------------- doctor


def doctor(args: argparse.Namespace) -> int:
    """Exit code 0 when nothing is left (or it was cleaned), 1 when something is."""
    rooms, strays = find_leftovers(), find_strays()
    left = [*rooms, *strays]
    for item in left:
        print(item)
    if not left:
        print("nothing was left behind")
        return 0
    if not args.clean:
        print(f"{len(left)} left behind; `squall doctor --clean` ends and removes them")
        return 1
    clean_strays(strays)
    clean(rooms)
    still = [*find_leftovers(), *find_strays()]
    print(f"cleaned {len(left) - len(still)} of {len(left)}")
    return 1 if still else 0


def _tell(line: str) -> None:
    print(line, flush=True)
