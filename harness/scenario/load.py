"""A scenario file, read and checked. Everything wrong with it is said with file and line, before anything starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from harness import yamlspec
from harness.checkers import CHECKERS
from harness.errors import SquallError
from harness.faults_registry import load_faults
from harness.history_io import read_header
from harness.placeholders import nodes_named
from harness.probes import PROBES, AnyProbe
from harness.requirements import load_requirements
from harness.scenario.model import (
    STEPS,
    Call,
    Check,
    Heal,
    Inject,
    Phase,
    ReadBack,
    ReadVersions,
    Scenario,
    Script,
    Start,
    Step,
    Stop,
    Tap,
)
from harness.scenario.observe import recorded_topology
from harness.target import Target
from harness.topology import Topology
from harness.topology_yaml import load_topology, override
from harness.units import Seconds
from harness.yamlspec import Marks, Tree, nearest

SUFFIX = ".yaml"
APART = {"topologies", "load"}
MOST_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class _File:
    """The words a scenario file may have at its top."""

    title: str
    requirements: tuple[str, ...]
    topology: str
    steps: tuple[Tree, ...]
    checks: tuple[Tree, ...]
    probes: tuple[Tree, ...] = ()
    taps: tuple[Tap, ...] = ()
    flags: dict[str, Any] = field(default_factory=dict)
    set: tuple[str, ...] = ()
    target: Target | None = None
    start_level: str = "HEALTHY"
    lasts: Seconds | None = None
    runtime: str = ""
    alone: bool = False
    turn: Literal["first", "", "last"] = ""


@dataclass(frozen=True, slots=True)
class _HealBody:
    label: str = "all"


@dataclass(frozen=True, slots=True)
class _Repeat:
    """The same steps again and again; the labels of their faults get the number of the round: "crash-1"."""

    times: int
    steps: tuple[Tree, ...]


def find_scenarios(paths: Iterable[Path]) -> list[Path]:
    """All scenario files at or below `paths`, sorted; topologies, and load below them (in folders named so), are left out."""
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            files = path.rglob(f"*{SUFFIX}")
            found |= {file for file in files if not APART & set(file.relative_to(path).parts)}
        else:
            found.add(path)
    return sorted(found)


def load_scenario(path: Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read and check one file. Raises SpecError; `overrides` ("pop.retry.jitter=0.5") change the topology's settings."""
    return parse_scenario(yamlspec.load(path), path, path.read_text(), overrides)


def parse_scenario(tree: Tree, path: Path, text: str, overrides: Sequence[str] = ()) -> Scenario:
    return _Reader(tree, path, text, *_build(tree)).scenario(overrides)


def _build(tree: Tree) -> tuple[_File, Marks]:
    marks = Marks()
    return yamlspec.build(_File, tree, marks=marks), marks


def reload_scenario(history: Path) -> Scenario:
    """The scenario as it was when it ran, from its history alone: its text and its overrides are in the header.

    The topology is read from the history too, so that a report can be made again without the files.
    """
    header = read_header(history)
    text = str(header.settings.get("scenario", ""))
    path = Path(str(header.settings.get("file", history)))
    tree = yamlspec.loads(text, str(path))
    return _Reader(tree, path, text, *_build(tree), topology=recorded_topology(header)).scenario(())


@dataclass(slots=True)
class _Reader:
    tree: Tree
    path: Path
    text: str
    file: _File
    marks: Marks
    topology: Topology | None = None  # instead of the file that the scenario names

    def scenario(self, overrides: Sequence[str]) -> Scenario:
        topology = self.topology or self._topology((*self.file.set, *overrides))
        probes = self._probes()
        steps = tuple(self._steps(topology))
        checks = tuple(
            cast("Check", self._named(CHECKERS, item, "check")) for item in self.file.checks
        )
        scenario = Scenario(
            name=self.path.stem,
            title=self.file.title,
            requirements=self.file.requirements,
            topology=topology,
            probes=probes,
            steps=steps,
            checks=checks,
            path=self.path,
            text=self.text,
            taps=self.file.taps,
            flags=self.file.flags,
            target=self.file.target,
            overrides=tuple(overrides),
            start_level=self.file.start_level,
            lasts=self.file.lasts,
            runtime=self.file.runtime,
            alone=self.file.alone,
            turn=self.file.turn,
        )
        self._check_meaning(scenario)
        return scenario

    def _topology(self, overrides: Sequence[str]) -> Topology:
        base = (self.path.parent / self.file.topology).resolve()
        if not base.is_file():
            raise self.tree.key_mark("topology").error(
                f"topology: no such file: {self.file.topology}"
            )
        return override(load_topology(base), list(overrides))

    def _named(self, registry: Any, item: Tree, what: str) -> Any:
        return yamlspec.build_named(registry, item, what=what, marks=self.marks)

    def _probes(self) -> tuple[AnyProbe, ...]:
        probes: dict[str, AnyProbe] = {}
        for item in self.file.probes:
            probe = cast("AnyProbe", self._named(PROBES, item, "probe"))
            if probe.name in probes:
                raise item.error(f"two probes are named '{probe.name}'")
            probes[probe.name] = probe
        return tuple(probes.values())

    def _steps(self, topology: Topology) -> Iterator[Step]:
        faults = {name: info.cls for name, info in load_faults().items()}
        registry = {**STEPS, "inject": Inject, "heal": Heal}
        labels: set[str] = set()
        for item, round_ in self._rounds():
            name, body = yamlspec.named(registry, item, what="step")
            if name == "heal":
                yield self._heal(item, labels, round_)
            elif name != "inject":
                yield cast("Step", self._named(STEPS, item, "step"))
            else:
                inject = self._inject(faults, body, topology, round_)
                if inject.label in labels:
                    raise item.error(
                        f"two faults are labelled '{inject.label}'; give one of them a label of its own"
                    )
                labels.add(inject.label)
                yield inject

    def _rounds(self) -> Iterator[tuple[Tree, str]]:
        """Each step with what its labels end in: the number of its round, or nothing."""
        for item in self.file.steps:
            if not (isinstance(item.value, dict) and "repeat" in item.value):
                yield item, ""
                continue
            repeat = cast("_Repeat", self._named({"repeat": _Repeat}, item, "step"))
            if not 1 <= repeat.times <= MOST_ROUNDS:
                raise item.error(f"repeat: 1 to {MOST_ROUNDS} times, not {repeat.times}")
            for number in range(1, repeat.times + 1):
                for inner in repeat.steps:
                    yield inner, f"-{number}"

    def _inject(self, faults: Any, body: Tree, topology: Topology, round_: str) -> Inject:
        if not isinstance(body.value, dict):
            raise body.error("inject: name a fault, as in `inject: {crash: pop-eu}`")
        rest = {key: value for key, value in body.value.items() if key != "label"}
        fault = yamlspec.build_named(
            faults, Tree(rest, body.mark, body.keys), what="fault", marks=self.marks
        )
        label = body.value.get("label")
        try:
            fault.check(cast("Any", _Paper(topology)))
        except ValueError as error:
            raise body.error(str(error)) from error
        return Inject(fault, (str(label.value) if label else fault.name) + round_)

    def _heal(self, item: Tree, labels: set[str], round_: str) -> Heal:
        heal = cast("_HealBody", self._named({"heal": _HealBody}, item, "step"))
        if heal.label + round_ in labels:
            return Heal(heal.label + round_)
        if heal.label != "all" and heal.label not in labels:
            raise item.error(
                f"heal: no fault labelled '{heal.label}' before this{nearest(heal.label, labels)}"
            )
        return Heal(heal.label)

    # ------------------------------------------------------------------------------------------ meaning

    def _check_meaning(self, scenario: Scenario) -> None:
        known = set(load_requirements())
        for requirement in scenario.requirements:
            if requirement not in known:
                raise self.tree.key_mark("requirements").error(
                    f"unknown requirement '{requirement}'{nearest(requirement, known)}"
                )
        if not scenario.steps:
            raise self.tree.key_mark("steps").error("steps: nothing happens")
        for tap in scenario.taps:
            self._must_know("link", tap.link, set(scenario.topology.links), tap)
        words = _Words.of(scenario)
        for item in (*scenario.probes, *scenario.checks):
            self._check_references(item, words)
        for step in scenario.steps:
            self._check_step(step, words)
        self._check_running(scenario)
        for check in scenario.checks:
            if check.requirement not in known:
                self._must_know("requirement", check.requirement, known, check)

    def _check_running(self, scenario: Scenario) -> None:
        """Probes are begun before they are ended, and no probe is begun twice: its requests are numbered once."""
        running = {probe.name for probe in scenario.probes} - scenario.late_probes
        begun = set(running)
        for step in scenario.steps:
            if not isinstance(step, Start | Stop):
                continue
            for name in step.probes:
                wrong = name in begun if isinstance(step, Start) else name not in running
                if wrong:
                    state = "was begun before" if isinstance(step, Start) else "is not running"
                    raise self.marks.mark(step, "probes").error(f"the probe '{name}' {state}")
            if isinstance(step, Start):
                begun |= set(step.probes)
                running |= set(step.probes)
            else:
                running -= set(step.probes)

    def _check_step(self, step: Step, words: _Words) -> None:
        if not isinstance(step, Inject | Heal):
            self._check_references(step, words)
        if isinstance(step, Call):
            for name in nodes_named(step.body):
                self._must_know("node", name, words.known["node"], step, "body")

    def _check_references(self, item: Any, words: _Words) -> None:
        """A field named for what it refers to must refer to something that is there."""
        for one in dataclasses.fields(item):
            kind = words.kind(item, one.name)
            if kind is None:
                continue
            value = getattr(item, one.name)
            for word in value if isinstance(value, tuple | list) else (value,):
                if isinstance(word, str) and word and "*" not in word:
                    self._must_know(kind, word, words.known[kind], item, one.name)

    def _must_know(
        self, kind: str, word: str, known: set[str], item: object, key: str | None = None
    ) -> None:
        if word not in known:
            mark = self.marks.mark(item, key)
            raise mark.error(f"no {kind} '{word}' here{nearest(word, known)}")


@dataclass(frozen=True, slots=True)
class _Words:
    """The names a scenario's parts may refer to, by kind."""

    known: dict[str, set[str]]

    _FIELDS: ClassVar[dict[str, str]] = {
        "probe": "probe",
        "probes": "probe",
        "writer": "probe",
        "writers": "probe",
        "reader": "probe",
        "of": "probe",
        "phase": "phase",
        "phases": "phase",
        "baseline": "phase",
        "fault": "fault",
        "node": "node",
        "nodes": "node",
        "sources": "node",
        "to": "node",
        "answered_by": "node",
        "link": "link",
        "links": "link",
        "group": "client group",
        "groups": "client group",
        "load": "probe",
        "call": "call",
        "away_from": "node",
    }

    @classmethod
    def of(cls, scenario: Scenario) -> _Words:
        steps = scenario.steps
        return cls(
            {
                "probe": {probe.name for probe in scenario.probes},
                "phase": {step.name for step in steps if isinstance(step, Phase)},
                "fault": {step.label for step in steps if isinstance(step, Inject)},
                "node": set(scenario.topology.nodes),
                "link": set(scenario.topology.links),
                "tap": {tap.link for tap in scenario.taps},
                "client group": set(scenario.topology.clients),
                "call": {step.label for step in steps if isinstance(step, Call)},
            }
        )

    def kind(self, item: object, name: str) -> str | None:
        if isinstance(item, Script) and name == "link":
            return "tap"
        if isinstance(item, Start | Stop | ReadBack | ReadVersions) and name in ("probes", "of"):
            return "probe"
        return self._FIELDS.get(name)


@dataclass(frozen=True, slots=True)
class _Paper:
    """A cluster that exists on paper: enough for a fault to check what it names."""

    topology: Topology
    has_interfaces: bool = True  # as some runtime has it
    has_files: bool = True

    @property
    def plan(self) -> _Paper:
        return self


def check_faults(
    scenario: Scenario, *, has_interfaces: bool = True, has_files: bool = True
) -> None:
    """Whether each fault can be done where nodes have interfaces of their own and their files can be reached, or not.

    Raises `SquallError`.
    """
    paper = _Paper(scenario.topology, has_interfaces, has_files)
    for step in scenario.steps:
        if isinstance(step, Inject):
            try:
                step.fault.check(cast("Any", paper))
            except ValueError as error:
                raise SquallError(f"{scenario.path}: {step.label}: {error}") from error
