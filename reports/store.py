"""Reading and writing the files of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.errors import HistoryError
from reports.model import RunFacts, ScenarioRecord

T = TypeVar("T")

RUN = "run.json"
FINDINGS = "findings.json"
HISTORY = "history.jsonl"


def write_run(run_dir: Path, facts: RunFacts) -> None:
    _write(run_dir / RUN, facts)


def write_record(folder: Path, record: ScenarioRecord) -> None:
    """Write `findings.json`. A figure that is not finite has no place in JSON and is written as null."""
    _write(folder / FINDINGS, record)


def read_run(run_dir: Path) -> RunFacts:
    """:raises HistoryError: no run.json, or not one; or a scenario folder outside the run folder."""
    facts = _read(run_dir / RUN, RunFacts)
    for name in facts.scenarios:
        path = Path(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
            raise HistoryError(
                f"{run_dir / RUN}: scenario folder {name!r} is outside the run folder"
            )
    return facts


def read_record(folder: Path) -> ScenarioRecord:
    """:raises HistoryError: no findings.json, or not one."""
    return _read(folder / FINDINGS, ScenarioRecord)


def _write(path: Path, value: msgspec.Struct) -> None:
    """Whole or not at all: a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    partial.replace(path)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(_without_nulls(msgspec.json.decode(path.read_bytes())), kind)
    except OSError as error:
        raise HistoryError(f"{path}: can't be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: damaged: {error}") from error


def _without_nulls(value: Any) -> Any:
    """A null says what a missing field says; figures that were not finite were written as null."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value
