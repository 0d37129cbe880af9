"""Scenarios as pytest items, and the object by which tests run scenarios. The hooks are in pytest_plugin.py."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.conformance import RunFolder
from harness.errors import SquallError
from harness.priority import MEASURING, set_nice
from harness.runtime.session import Session, find_kind, open_session, prepare
from harness.scenario.execute import execute
from harness.scenario.judge import Judged, judge, unfinished, write_judged
from harness.scenario.load import check_faults, load_scenario
from harness.scenario.model import Scenario
from harness.topology import Topology
from harness.verdict import Finding, Verdict

_KEY: pytest.StashKey[Squall] = pytest.StashKey()


def squall_of(config: pytest.Config) -> Squall:
    """One per pytest process; ended with it."""
    if _KEY not in config.stash:
        squall = Squall(
            config.getoption("--squall-runtime"),
            config.getoption("--squall-out"),
            tuple(config.getoption("--squall-set")),
        )
        config.stash[_KEY] = squall
        config.add_cleanup(squall.close)
    return config.stash[_KEY]


class NotShownError(Exception):
    """A scenario whose promises were broken or could not be shown."""


class ScenarioFile(pytest.File):
    def collect(self) -> Iterable[ScenarioItem]:
        """One item a file. A file that can't be right is a collection error with file and line."""
        squall = squall_of(self.config)
        try:
            scenario = load_scenario(self.path, squall.settings)
        except SquallError as error:
            raise self.CollectError(str(error)) from error
        yield ScenarioItem.from_parent(self, name=scenario.name, scenario=scenario)


class ScenarioItem(pytest.Item):
    def __init__(self, *, scenario: Scenario, **more: Any) -> None:
        super().__init__(**more)
        self.scenario = scenario
        for requirement in scenario.requirements:
            self.add_marker(pytest.mark.requirement(requirement))

    def runtest(self) -> None:
        runtime = squall_of(self.config).runtime
        if self.scenario.runtime not in ("", runtime):
            pytest.skip(f"runs with --squall-runtime {self.scenario.runtime} only")
        result = squall_of(self.config).run_scenario(self.scenario)
        for finding in result.findings:
            self.user_properties.append(
                (f"{finding.requirement}.{finding.check}", str(finding.verdict))
            )
        if result.verdict is not Verdict.PASS:
            raise NotShownError(describe(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, NotShownError | SquallError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"{self.name} ({', '.join(self.scenario.requirements)})"


def describe(result: Judged) -> str:
    """What did not pass, a line for each finding."""
    lines = [f"{result.name}: {result.verdict}"]
    if result.error:
        lines.append(f"  {result.error}")
    lines += [
        f"  {_line(finding)}" for finding in result.findings if finding.verdict is not Verdict.PASS
    ]
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    measured = "" if finding.value is None else f" measured {finding.value:g} {finding.unit}"
    bound = "" if finding.bound is None else f" {finding.relation} {finding.bound:g}"
    return (
        f"{finding.requirement} {finding.verdict} [{finding.check}] {finding.subject} {finding.claim}:"
        f"{measured}{bound} {finding.reason}"
    )


class Squall:
    """One run folder and one session of the runtime for a pytest process, made when the first scenario runs."""

    def __init__(self, runtime: str, out: Path, settings: tuple[str, ...]) -> None:
        self.runtime = runtime
        self.out = out
        self.settings = settings
        self._stack = ExitStack()
        self._sessions: dict[str, Session] = {}
        self._run: RunFolder | None = None
        self._count = 0

    def __repr__(self) -> str:
        return f"<squall runtime={self.runtime} scenarios run={self._count}>"

    def run(self, path: str | Path, set: Sequence[str] = ()) -> Judged:  # noqa: A002 - the word users write
        """Run one scenario file; raises SpecError for a file that can't be right."""
        return self.run_scenario(load_scenario(Path(path), (*self.settings, *set)))

    def run_scenario(self, scenario: Scenario) -> Judged:
        if self._run is None:
            self._run = RunFolder.create(self.out)
        self._count += 1
        folder = self._run.path / (
            scenario.name if self._count == 1 else f"{scenario.name}-{self._count}"
        )
        folder.mkdir()
        started = time.monotonic()
        set_nice(MEASURING)
        try:
            kind = find_kind(self.runtime)
            check_faults(scenario, has_interfaces=kind.has_interfaces, has_files=kind.has_files)
            execute(scenario, folder, self._run.id, self._session(scenario.topology), _tell)
        except SquallError as error:
            result = unfinished(scenario, str(error), time.monotonic() - started)
        else:
            set_nice(0)
            result = judge(scenario, folder, time.monotonic() - started)
        write_judged(folder, result)
        return result

    def folder(self, result: Judged) -> Path:
        """Where the histories and logs of the last run of that scenario are."""
        assert self._run is not None, "nothing has run yet"
        return max(self._run.path.glob(f"{result.name}*"), key=lambda path: path.stat().st_mtime)

    def _session(self, topology: Topology) -> Session:
        if topology.program not in self._sessions:
            parts = prepare(self.runtime, [topology], lambda line: _tell("parts", line))
            self._sessions[topology.program] = self._stack.enter_context(
                open_session(self.runtime, parts, [topology.program])
            )
        return self._sessions[topology.program]

    def close(self) -> None:
        self._stack.close()


def _tell(stage: str, text: str) -> None:
    print(stage, text, file=sys.stderr)
