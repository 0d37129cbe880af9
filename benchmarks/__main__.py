"""`python -m benchmarks [name …] [options]` runs the modules `benchmarks.<name>`, all of them when none is named.

The options go to each of them; `python -m benchmarks <name> --help` lists those of one.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from itertools import takewhile

import benchmarks


def main(argv: list[str]) -> int:
    known = sorted(
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if not module.name.startswith("_")
    )
    named = list(takewhile(lambda word: not word.startswith("-"), argv))
    if unknown := [name for name in named if name not in known]:
        print(f"no benchmark '{unknown[0]}' (known: {', '.join(known)})", file=sys.stderr)
        return 2
    if not named and ("-h" in argv or "--help" in argv):
        print(f"{__doc__}\nBenchmarks: {', '.join(known)}")
        return 0
    codes = [_run(name, argv[len(named) :]) for name in named or known]
    return max(codes)


def _run(name: str, options: list[str]) -> int:
    print(f"== {name}", flush=True)
    code: int = importlib.import_module(f"benchmarks.{name}").main(options)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
