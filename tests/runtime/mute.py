"""A program that runs and never listens."""

from __future__ import annotations

import signal


def main(argv: list[str]) -> None:
    print("mute: here", flush=True)
    signal.pause()
