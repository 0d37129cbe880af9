"""Locust's side of a load, in processes of its own: one master, and workers that send.

    python -m harness.load.side master JOB PARENT HOST
    python -m harness.load.side worker JOB PARENT HOST PORT

JOB is a file (`harness.load.job.Job`), PARENT the pid of whoever started it, without whom it ends.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.runtime.programs import die_with_parent

LOAD_NICE = (
    0  # users have no priority: what they are asked to do must not keep the platform from its work
)


def main(argv: list[str]) -> None:
    role, file, parent, host, *port = argv
    die_with_parent()
    if os.getppid() != int(parent):
        sys.exit("the run has ended")
    # locust patches the standard library: it comes first, and never into another process.
    from harness.load import master, worker  # noqa: PLC0415
    from harness.load.job import read_job  # noqa: PLC0415

    job = read_job(Path(file))
    if role == "master":
        master.run(job, host)
    else:
        worker.run(job, host, int(port[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
