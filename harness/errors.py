"""The errors that reach a user. Each is mapped to one clear line and an exit code once, in the CLI and the pytest plugin."""

from __future__ import annotations


class SquallError(Exception):
    """Something the user must know, said in one line. Ends the command with exit code 2."""


class SpecError(SquallError):
    """A topology, scenario or target file that can't be right.

    ``str()`` gives ``file:line: message``; `line` is 1-based.
    """

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path = path
        self.line = line
        self.message = message


class MissingPartError(SquallError):
    """A program that squall needs is not there; the message says how to get it."""


class RuntimeFailure(SquallError):  # noqa: N818 - it is the runtime that failed, not Python's RuntimeError
    """The runtime couldn't do what was asked: a node that never became ready, a control call that timed out."""


class HistoryError(SquallError):
    """A history that can't be read: no header, a damaged line that is not the last, an unknown schema version."""
