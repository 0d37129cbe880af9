"""Who goes first when cores are short: the measuring side, then the platform, then everything else on the machine.

Without it a neighbour's build would show as the platform's latency. Needs root; without, all are equal and late probes
make verdicts unknown, as they should.
"""

from __future__ import annotations

import os

MEASURING = -12
PLATFORM = -8
JUDGING = 10


def set_nice(value: int) -> None:
    """Set this process's nice value; its children inherit it. Nothing happens where that is not allowed."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, value)
    except PermissionError:
        return
