"""A node of several processes for the fault tests: `python crew_node.py host port again|never`.

Its children are called worker-0 and worker-1; one that dies is replaced again, or never.
"""

import ctypes
import os
import signal
import sys

from tiny_node import Handler, Server

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15


def child(name, run):
    pid = os.fork()
    if not pid:
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
        run()
    return pid


if __name__ == "__main__":
    server = Server((sys.argv[1], int(sys.argv[2])), Handler)
    child("front", server.serve_forever)
    running = {child(name, signal.pause): name for name in ("worker-0", "worker-1")}
    while True:
        pid, _ = os.wait()
        if sys.argv[3] == "again":
            name = running.pop(pid)
            running[child(name, signal.pause)] = name
