"""Running `squall run` as a user does, and reading what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "suites" / "scenarios"
UNKNOWN = 2  # exit code
SHORTENED = ROOT / "tests" / "conformance" / "short"
SHORT = ROOT / "tests" / "scenarios" / "short.yaml"


@dataclass(frozen=True)
class Ran:
    code: int
    output: str
    folder: Path

    @property
    def verdicts(self) -> dict[str, str]:
        """Requirement to verdict, of those that were shown."""
        results = json.loads((self.folder / "results.json").read_text())
        return {
            r["id"]: r["verdict"] for r in results["requirements"] if r["verdict"] != "not shown"
        }

    def reasons(self, verdict: str) -> str:
        results = json.loads((self.folder / "results.json").read_text())
        return "\n".join(
            f"{check['name']} {check['subject']}: {check['reason']}"
            for requirement in results["requirements"]
            for check in requirement["checks"]
            if check["verdict"] == verdict
        )


def environment(**more: str) -> dict[str, str]:
    """This one's, with the repository on the path, so that `tests.broken` can be imported by a node."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **more}


def squall_run(scenario: Path, out: Path, *options: str, within: float = 400.0) -> Ran:
    argv = [sys.executable, "-m", "harness", "run", str(scenario), "--out", str(out), *options]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    return Ran(done.returncode, done.stdout + done.stderr, out / "latest")


@dataclass(frozen=True)
class Case:
    """A platform that is wrong in one way: the settings that make it so, and the requirement that must be named."""

    name: str
    requirement: str
    scenario: str
    settings: tuple[str, ...]
    says: str  # the check that must have failed
    also: tuple[str, ...] = ()  # requirements that rest on the same promise


def selected(request, cases):
    """Those that tests of this module will ask for."""
    mine = [item for item in request.session.items if item.path == request.path]
    chosen = {item.callspec.params["case"] for item in mine if hasattr(item, "callspec")}
    return [case for case in cases if case in chosen]


def run_case(case: Case, out: Path, *options: str) -> Ran:
    """A run that could not tell, because this machine was too busy, is asked once more: it must tell in the end."""
    settings = tuple(word for setting in case.settings for word in ("--set", setting))
    suites, short = (folder / f"{case.scenario}.yaml" for folder in (SCENARIOS, SHORTENED))
    scenario = suites if suites.exists() else short
    ran = squall_run(scenario, out, *options, *settings)
    if ran.code != UNKNOWN:
        return ran
    return squall_run(scenario, out, *options, *settings)


def all_runs(request, tmp_path_factory, cases, side_by_side):
    """The selected cases' runs, as futures: the first test waits for the longest, the others find theirs done."""
    with ThreadPoolExecutor(side_by_side) as pool:
        yield {
            case: pool.submit(run_case, case, tmp_path_factory.mktemp(case.name))
            for case in selected(request, cases)
        }


def named_by(ran: Ran, case: Case) -> None:
    """The run failed, by that requirement and that check."""
    assert ran.code == 1, ran.output
    failed = {requirement for requirement, verdict in ran.verdicts.items() if verdict == "fail"}
    assert failed == {case.requirement, *case.also}, ran.output
    assert case.says in ran.reasons("fail"), ran.reasons("fail")
