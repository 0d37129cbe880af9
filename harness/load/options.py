"""What a load asks for: from a target, and by hand from locust's command line. Knows nothing of locust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import yamlspec
from harness.load.job import Job
from harness.load.shape import Shape
from harness.target import Target

if TYPE_CHECKING:
    from harness.load.job import Kind

BULK_PATH = "/ofrep/v1/evaluate/flags"


def asked(kind: Kind, target: Target, **more: Any) -> Job:
    """A job of that kind, with the target's own way of asking."""
    if kind == "stream":
        how = target.subscribe
        return Job(kind=kind, method="GET", path=how.path, headers=how.headers, **more)
    if kind == "write":
        put = target.write
        return Job(
            kind=kind, method=put.method, path=put.path, headers=put.headers, body=put.body, **more
        )
    one = target.evaluate
    path = one.path if kind == "evaluate" else BULK_PATH
    return Job(kind=kind, method=one.method, path=path, headers=one.headers, body=one.body, **more)


def add_options(parser: Any) -> None:
    """Locust's event `init_command_line_parser`; its own options say the host and the users."""
    parser.add_argument("--flags", default="squall-flag", help="keys of flags, by comma")
    parser.add_argument("--org", default="default", help="whose flags")
    parser.add_argument(
        "--rate",
        type=float,
        default=0.0,
        help="requests/s of each user; 0: as fast as answers come",
    )
    parser.add_argument("--request-timeout", type=float, default=5.0, help="of a request, s")
    parser.add_argument(
        "--shape", default="", help="a file, or YAML: '{kind: ramp, over: 60s}'; with -f …/shape.py"
    )


def job_of(kind: str, options: Any, host: str) -> Job:
    """What the command line asks for."""
    return asked(
        cast("Kind", kind),
        Target(),
        host=host,
        keys=tuple(options.flags.split(",")),
        org=options.org,
        rate=options.rate,
        users=int(options.num_users or 1),
        spawn=float(options.spawn_rate or 100.0),
        timeout=options.request_timeout,
    )


def shape_of(text: str) -> Shape:
    """A shape from a file, or from YAML as it stands. Raises `SpecError`, which says what is wrong."""
    if not text:
        return Shape()
    tree = yamlspec.load(text) if Path(text).is_file() else yamlspec.loads(text, "--shape")
    return yamlspec.build(Shape, tree)
