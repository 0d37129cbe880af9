"""The command `squall`. Errors end here, once: one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import SquallError
from harness.version import version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_UNKNOWN = 2
EXIT_INTERRUPTED = 130

_EPILOG = """\
exit codes: 0 all that was tried holds; 1 a promise was broken; 2 could not tell
(bad input, a missing part, an unsound measurement)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # what a terminal can't show must not end the command
            stream.reconfigure(errors="replace")
    args = _parser().parse_args(argv)
    handler: Callable[[argparse.Namespace], int] = args.handler
    # A terminated run must clean up as an interrupted one does.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return handler(args)
    except SquallError as error:
        sys.stdout.flush()
        print(f"squall: {error}", file=sys.stderr)
        return EXIT_UNKNOWN
    except KeyboardInterrupt:
        print("squall: interrupted; what was started has been ended", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`squall … | head`); point stdout at nothing so that exit stays silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_UNKNOWN


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def default_suites() -> Path:
    """`suites/` here, else the suites that were installed with squall."""
    here = Path("suites")
    if here.is_dir():
        return here
    spec = find_spec("suites")
    if spec is None or not spec.submodule_search_locations:
        raise SquallError("no suites here; name scenario files or folders")
    return Path(next(iter(spec.submodule_search_locations)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="squall",
        description="Break an edge-evaluated feature-flag platform and show what it keeps of its promises.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"squall {version()}")
    sub = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(sub)
    _add_cluster_commands(sub)
    _add_compose(sub)
    _add_lint(sub)
    _add_report(sub)
    _add_doctor(sub)
    _add_requirements(sub)
    return parser


def _later(module: str, name: str, *more: object) -> Callable[[argparse.Namespace], int]:
    """A handler that is imported when it is called, so that ``--help`` and mistakes are answered at once."""

    def handle(args: argparse.Namespace) -> int:
        handler: Callable[..., int] = getattr(import_module(module), name)
        return handler(args, *more)

    return handle


def _command(
    sub: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    handler: Callable[[argparse.Namespace], int],
    text: str,
    epilog: str = "",
) -> argparse.ArgumentParser:
    parser = sub.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def _add_run(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        sub,
        "run",
        _later("harness.commands", "run", default_suites),
        "run scenarios side by side and write a report",
        "examples:\n"
        "  squall run                                    all suites\n"
        "  squall run -r S2 -r P3                        those that show S2 or P3\n"
        "  squall run suites/scenarios/p1-breaker.yaml   one scenario\n"
        "  squall run --set pop.retry.jitter=0.5 -r P2   with a changed platform\n",
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, help="scenario files or folders (default: suites/)"
    )
    parser.add_argument(
        "-r",
        "--requirement",
        action="append",
        default=[],
        metavar="ID",
        help="only scenarios that show it",
    )
    parser.add_argument(
        "-k", dest="keyword", metavar="TEXT", help="only scenarios whose name contains it"
    )
    _add_runtime(parser)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="ROLE.SETTING=VALUE",
        help="change a setting of a role or node, or `program=MODULE`, in every topology",
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=int,
        help="clusters side by side (default: 6 of processes, 3 of containers)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="where run folders go (default out/)"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="a line for each phase and fault"
    )


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime",
        default="process",
        metavar="KIND",
        help="where nodes run: process (default), docker; or compose, swarm: a platform that is up",
    )


def _add_cluster_commands(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = _command(
        sub,
        "up",
        _later("harness.cluster_commands", "up"),
        "start a cluster to play with; it stays until `squall down`",
    )
    up.add_argument("topology", type=Path, help="a topology file")
    _add_runtime(up)
    up.add_argument("--name", help="the cluster's name (default: the topology's)")
    up.add_argument(
        "--set", action="append", default=[], metavar="ROLE.SETTING=VALUE", help="change a setting"
    )
    status = _command(
        sub,
        "status",
        _later("harness.cluster_commands", "status"),
        "show the clusters that are up, their nodes and addresses",
    )
    status.add_argument("name", nargs="?", help="the cluster (default: all)")
    down = _command(
        sub,
        "down",
        _later("harness.cluster_commands", "down"),
        "end a cluster and all that belongs to it",
    )
    down.add_argument("name", nargs="?", help="the cluster (default: the only one)")
    fault = _command(
        sub,
        "fault",
        _later("harness.fault_commands", "fault"),
        "inject a fault into a cluster that is up, and show that it bit",
        "examples:\n"
        "  squall fault list\n"
        "  squall fault crash hub-us-1\n"
        "  squall fault latency link='pop-us->hub-us-1' latency=200ms --for 30s\n",
    )
    fault.add_argument("fault", help="the fault's name, or `list`")
    fault.add_argument(
        "fields", nargs="*", metavar="FIELD=VALUE", help="its fields; a bare value fills the first"
    )
    fault.add_argument("--cluster", help="the cluster (default: the only one)")
    fault.add_argument(
        "--for", dest="duration", metavar="TIME", help="heal it after this long (10s, 2min)"
    )
    heal = _command(
        sub,
        "heal",
        _later("harness.fault_commands", "heal"),
        "undo the faults in force on a cluster that is up",
    )
    heal.add_argument("--cluster", help="the cluster (default: the only one)")


def _add_compose(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    image = _command(
        sub,
        "image",
        _later("harness.container_commands", "image"),
        "build the image of containers' nodes, if what it is made of has changed",
    )
    image.add_argument(
        "--tag", default="squall-node:latest", help="its name (default squall-node:latest)"
    )
    compose = _command(
        sub,
        "compose",
        _later("harness.container_commands", "compose"),
        "print a topology as a Compose file, to bring the platform up without squall",
    )
    compose.add_argument("topology", type=Path, help="a topology file")
    compose.add_argument(
        "--swarm", action="store_true", help="a stack file, for `docker stack deploy`"
    )
    compose.add_argument(
        "--set", action="append", default=[], metavar="ROLE.SETTING=VALUE", help="change a setting"
    )


def _add_lint(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        sub,
        "lint",
        _later("harness.commands", "lint", default_suites),
        "check scenarios and topologies without running them",
    )
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders (default: suites/)")


def _add_report(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        sub,
        "report",
        _later("harness.commands", "report"),
        "judge a run's histories again and write its report anew",
    )
    parser.add_argument("run", type=Path, help="a run folder, as out/latest")
    parser.add_argument(
        "--keep-findings", action="store_true", help="do not judge again; only write the report"
    )


def _add_doctor(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        sub,
        "doctor",
        _later("harness.container_commands", "doctor"),
        "show what a run that was killed has left behind",
    )
    parser.add_argument("--clean", action="store_true", help="end and remove it")


def _add_requirements(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(
        sub,
        "requirements",
        _later("harness.commands", "requirements", default_suites),
        "list the requirements of the specification, with the suites that show each",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these, in full")


if __name__ == "__main__":
    sys.exit(main())
