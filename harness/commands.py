"""What each command of `squall` does. Each returns the exit code; errors for the user are raised as SquallError."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

import reports
from harness import conformance
from harness.errors import SpecError, SquallError
from harness.requirements import load_requirements
from harness.runtime.session import find_kind, open_session, prepare
from harness.scenario.environment import describe
from harness.scenario.judge import Judged, judge, unfinished, write_judged
from harness.scenario.load import check_faults, find_scenarios, load_scenario, reload_scenario
from harness.scenario.model import Scenario
from harness.topology_yaml import load_topology
from harness.version import version
from reports import terminal

Suites = Callable[[], Path]


# ------------------------------------------------------------------------------------------------------ run


def run(args: argparse.Namespace, suites: Suites) -> int:
    """Run what was asked for; the last line says where the report is."""
    scenarios = _select(args, suites)
    kind = find_kind(args.runtime)
    for scenario in scenarios:
        check_faults(scenario, has_interfaces=kind.has_interfaces, has_files=kind.has_files)
    parts = prepare(args.runtime, [scenario.topology for scenario in scenarios], _say)
    folder = conformance.RunFolder.create(args.out)
    jobs = max(1, kind.lanes if args.jobs is None or kind.lanes == 1 else args.jobs)
    screen = _Screen(scenarios, verbose=args.verbose)
    screen.begin(folder, args.runtime)
    began = time.monotonic()
    programs = sorted({scenario.topology.program for scenario in scenarios})
    with open_session(args.runtime, parts, programs) as session:
        results = conformance.run(scenarios, folder, session, screen, jobs)
    info = reports.RunFacts(
        run=folder.id,
        started=folder.started,
        wall=time.monotonic() - began,
        command=shlex.join(["squall", *sys.argv[1:]]),
        runtime=args.runtime,
        environment=describe(args.runtime, parts),
        scenarios=sorted(result.name for result in results),
    )
    (folder.path / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(info)))
    made = reports.make(folder.path)
    folder.link_latest()
    screen.end(made, folder)
    return made.exit_code


def _select(args: argparse.Namespace, suites: Suites) -> list[Scenario]:
    files = find_scenarios(args.paths or [suites()])
    known = load_requirements()
    for requirement in args.requirement:
        if requirement not in known:
            raise SquallError(f"unknown requirement '{requirement}'; see `squall requirements`")
    scenarios = [load_scenario(file, args.set) for file in files]
    double = [name for name, n in Counter(s.name for s in scenarios).items() if n > 1]
    if double:
        raise SquallError(f"two scenario files have the name '{double[0]}'")
    chosen = [
        scenario
        for scenario in scenarios
        if scenario.runtime in ("", args.runtime)
        and (not args.requirement or set(args.requirement) & set(scenario.requirements))
        and (not args.keyword or args.keyword in scenario.name)
    ]
    for scenario in scenarios:
        if scenario.runtime not in ("", args.runtime) and scenario.path in args.paths:
            raise SquallError(f"{scenario.path}: runs with --runtime {scenario.runtime} only")
    if not chosen:
        raise SquallError(f"none of {len(scenarios)} scenarios is asked for by these options")
    return chosen


def _say(line: str) -> None:
    print(line, flush=True)


class _Screen(conformance.Listener):
    """What an engineer sees while the run goes on: a line for each requirement as soon as all that shows it is done."""

    def __init__(self, scenarios: Sequence[Scenario], *, verbose: bool) -> None:
        self.verbose = verbose
        self.style = terminal.Style.of(sys.stdout)
        self.requirements = load_requirements()
        self.open = {scenario.name for scenario in scenarios}
        self.total = len(scenarios)
        self.wanted = sorted(
            {name for scenario in scenarios for name in scenario.requirements},
            key=list(self.requirements).index,
        )
        self.of = {
            name: {s.name for s in scenarios if name in s.requirements} for name in self.wanted
        }
        self.results: list[Judged] = []
        self.longest = max(scenario.duration for scenario in scenarios)
        self.began = time.monotonic()

    def begin(self, folder: conformance.RunFolder, runtime: str) -> None:
        print(
            f"squall {version()}: {self.total} scenarios for {len(self.wanted)} requirements, {runtime} runtime, "
            f"about {self.longest:.0f} s of timeline\nrun folder {folder.path}",
            flush=True,
        )

    def progress(self, event: conformance.Progress) -> None:
        if event.stage == "begin":
            self._line(event.text)
        elif event.stage == "failed":
            self._line(f"{event.scenario}: {event.text}")
        elif self.verbose or "DID NOT" in event.text:
            self._line(f"{event.scenario}: {event.stage} {event.text}".rstrip())

    def _line(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def judged(self, scenario: Scenario, result: Judged) -> None:
        self.results.append(result)
        self.open.discard(scenario.name)
        for name in scenario.requirements:
            if not self.of[name] & self.open:
                findings = [f for r in self.results for f in r.findings if f.requirement == name]
                line = terminal.requirement_line(self.requirements[name], findings, self.style)
                print(line, flush=True)

    def end(self, made: reports.Results, folder: conformance.RunFolder) -> None:
        print()
        print(terminal.table(made, self.style))
        print(f"\n{folder.path / 'report.html'}  (wall time {time.monotonic() - self.began:.1f} s)")


# --------------------------------------------------------------------------------------------- lint, report


def lint(args: argparse.Namespace, suites: Suites) -> int:
    """Every file is looked at, so that one run shows all that is wrong."""
    roots = args.paths or [suites()]
    for root in roots:
        if not root.exists():
            raise SquallError(f"no such file or folder: {root}")
    files = sorted(
        {f for root in roots for f in (root.rglob("*.yaml") if root.is_dir() else [root])}
    )
    wrong = 0
    for file in files:
        try:
            _lint(file)
        except SpecError as error:
            wrong += 1
            print(error)
    print(f"{len(files)} files, {wrong} with errors")
    return 2 if wrong else 0


def _lint(file: Path) -> None:
    if "topologies" in file.parts:
        load_topology(file)
    else:
        load_scenario(file)


def report(args: argparse.Namespace) -> int:
    """From the run folder alone: nothing but its histories is needed."""
    folder = args.run.resolve()
    if not (folder / "run.json").is_file():
        raise SquallError(f"{args.run}: not a run folder (no run.json in it)")
    if not args.keep_findings:
        for history in sorted(folder.glob("*/history.jsonl")):
            _judge_again(history.parent)
    made = reports.make(folder)
    print(terminal.table(made, terminal.Style.of(sys.stdout)))
    print(f"\n{folder / 'report.html'}")
    return made.exit_code


def _judge_again(folder: Path) -> None:
    file = folder / "findings.json"
    before = msgspec.json.decode(file.read_bytes(), type=Judged) if file.exists() else None
    scenario = reload_scenario(folder / "history.jsonl")
    wall = before.wall if before else 0.0
    if before and before.error:
        write_judged(folder, unfinished(scenario, before.error, wall))
    else:
        write_judged(folder, judge(scenario, folder, wall))


def requirements(args: argparse.Namespace, suites: Suites) -> int:
    """One line each; in full when asked for by id."""
    known = load_requirements()
    shown: dict[str, list[str]] = {name: [] for name in known}
    for file in find_scenarios([suites()]):
        scenario = load_scenario(file)
        for name in scenario.requirements:
            shown[name].append(scenario.name)
    for name in args.ids:
        if name not in known:
            raise SquallError(f"unknown requirement '{name}' (known: {', '.join(known)})")
    width = shutil.get_terminal_size((100, 24)).columns
    for name, one in known.items():
        by = ", ".join(shown[name]) or "not shown by any suite"
        if name in args.ids:
            print(
                f"{name}  {one.title}\n    target: {one.target}\n    seen by: {one.observed}\n    suites: {by}"
            )
        elif not args.ids:
            print(f"{name:<3} {one.title}  [{by}]"[: max(width, 60)])
    return 0
