from __future__ import annotations

import pytest

from faults.crash import Crash
from harness.cli import main
from harness.conformance import following, waves
from harness.errors import SpecError, SquallError
from harness.scenario.load import check_faults, find_scenarios, load_scenario
from harness.scenario.model import Fill, Heal, Inject, Phase, Start
from harness.units import Seconds
from tests.conformance.support import SCENARIOS
from tests.small import SCENARIO, write_small

REPEATED = """\
steps:
  - phase: baseline
  - repeat:
      times: 2
      steps:
        - phase: broken
        - inject: {crash: pop-1}
        - heal: crash
  - phase: healed
"""


def rewritten(tmp_path, old, new):
    path = write_small(tmp_path)
    assert old in SCENARIO
    path.write_text(SCENARIO.replace(old, new))
    return path


def steps_of(text):
    return SCENARIO[: SCENARIO.index("steps:")] + text + SCENARIO[SCENARIO.index("checks:") :]


def test_repeated_steps_have_labels_of_their_own(tmp_path):
    path = write_small(tmp_path)
    path.write_text(steps_of(REPEATED))
    assert load_scenario(path).steps == (
        Phase("baseline"),
        Phase("broken"),
        Inject(Crash("pop-1"), "crash-1"),
        Heal("crash-1"),
        Phase("broken"),
        Inject(Crash("pop-1"), "crash-2"),
        Heal("crash-2"),
        Phase("healed"),
    )


@pytest.mark.parametrize("times", [0, 1001])
def test_how_often_is_bounded(tmp_path, times):
    path = write_small(tmp_path)
    path.write_text(steps_of(REPEATED.replace("times: 2", f"times: {times}")))
    with pytest.raises(SpecError, match=f"repeat: 1 to 1000 times, not {times}"):
        load_scenario(path)


def test_a_fault_that_needs_an_interface_is_refused_where_there_is_none(tmp_path):
    path = rewritten(
        tmp_path, "inject: {cut: 'pop-1->api-1'}", "inject: {disconnect: pop-1, label: cut}"
    )
    scenario = load_scenario(path)
    check_faults(scenario, has_interfaces=True)
    with pytest.raises(
        SquallError, match="cut: disconnect: nodes of this runtime have no interface"
    ):
        check_faults(scenario, has_interfaces=False)


def test_a_scenario_for_another_runtime_is_left_out_or_refused(tmp_path, capsys):
    path = rewritten(tmp_path, "lasts: 2s", "lasts: 2s\nruntime: docker")
    assert main(["run", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "runs with --runtime docker only" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "scenarios"), "--out", str(tmp_path / "out")]) == 2
    assert "none of 1 scenarios is asked for" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_must_be_alone_has_a_wave_of_its_own(tmp_path):
    plain = load_scenario(write_small(tmp_path))
    alone = load_scenario(rewritten(tmp_path, "lasts: 2s", "lasts: 2s\nalone: true"))
    assert not plain.alone
    assert waves([plain, alone, plain, plain], 2) == [[alone], [plain, plain], [plain]]
    assert waves([], 2) == []


def test_wide_clusters_take_more_lanes():
    plain = load_scenario(SCENARIOS / "d1-api-loss.yaml")
    wide = load_scenario(SCENARIOS / "d3-zone-failure.yaml")
    assert (plain.topology.weight, wide.topology.weight) == (1, 3)
    assert waves([wide, wide, plain, plain], 4) == [[wide, plain], [wide, plain]]
    assert waves([wide], 2) == [[wide]], "wider than all lanes"


def test_what_needs_quiet_has_it_and_the_last_wait_until_the_others_have_gone():
    quiet = load_scenario(SCENARIOS / "p2-retries.yaml")
    wide = load_scenario(SCENARIOS / "d3-zone-failure.yaml")
    plain = load_scenario(SCENARIOS / "d1-api-loss.yaml")
    last = load_scenario(SCENARIOS / "c1-growth.yaml")
    assert following([wide, plain], [quiet], 6) == 1
    assert following([wide, last], [quiet], 6) is None
    assert following([wide, last], [plain], 6) == 0
    assert following([wide, last], [wide, wide], 7) is None, "there is room for the last one alone"
    assert following([last], [wide, wide], 7) == 0
    assert following([last], [], 6) == 0
    assert following([], [], 6) is None


def test_a_step_starts_probes_that_there_are(tmp_path):
    path = rewritten(tmp_path, "steps:\n", "steps:\n  - start: {probes: [nobody]}\n")
    with pytest.raises(SpecError, match="nobody"):
        load_scenario(path)


def test_a_step_fills_the_platform(tmp_path):
    path = rewritten(tmp_path, "steps:\n", "steps:\n  - fill: {flags: 10, size: 500, within: 5s}\n")
    assert load_scenario(path).steps[0] == Fill(10, 500, Seconds(5.0))
    path = rewritten(tmp_path, "steps:\n", "steps:\n  - fill: {flags: 0}\n")
    with pytest.raises(SpecError, match="flags must be at least 1"):
        load_scenario(path)


LATE = """\
steps:
  - phase: cut
  - start: {probes: [users]}
  - inject: {cut: 'pop-1->api-1'}
  - stop: {probes: [users]}
"""


def test_a_probe_that_a_step_begins_does_not_begin_with_the_timeline(tmp_path):
    path = write_small(tmp_path)
    assert load_scenario(path).late_probes == frozenset()
    path.write_text(steps_of(LATE))
    assert load_scenario(path).late_probes == {"users"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  - stop", "  - start: {probes: [users]}\n  - stop", "'users' was begun before"),
        ("  - phase: cut\n", "  - phase: cut\n  - stop: {probes: [users]}\n", "is not running"),
        ("start: {probes: [users]}", "start: {probes: [nobody]}", "no probe 'nobody'"),
    ],
)
def test_probes_are_begun_once_and_before_they_are_ended(tmp_path, old, new, message):
    path = write_small(tmp_path)
    path.write_text(steps_of(LATE.replace(old, new)))
    with pytest.raises(SpecError, match=message):
        load_scenario(path)


LOAD = (
    "  - load: {name: load, users: 3, shape: {kind: KIND}}\nsteps:\n  - start: {probes: [load]}\n"
)


def with_load(tmp_path, kind="steady", more=""):
    path = write_small(tmp_path)
    path.write_text(SCENARIO.replace("steps:\n", LOAD.replace("KIND", kind) + more))
    return path


def test_a_load_has_its_shape_and_is_begun_by_a_step(tmp_path):
    scenario = load_scenario(with_load(tmp_path))
    assert [(p.name, p.kind) for p in scenario.probes] == [("users", "evaluate"), ("load", "load")]
    assert scenario.steps[0] == Start(("load",))


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("rmap", "", "kind: unknown value 'rmap'; did you mean 'ramp'"),
        ("ramp", "", "a ramp needs `over`"),
        ("steady", "  - start: {probes: [laod]}\n", "no probe 'laod' here; did you mean 'load'"),
        ("steady", "  - start: {probes: [load]}\n", "the probe 'load' was begun before"),
    ],
)
def test_a_load_that_can_not_be_is_said_with_its_line(tmp_path, kind, more, said):
    path = with_load(tmp_path, kind, more)
    with pytest.raises(SpecError, match=f"{path}:[0-9]+: .*{said}"):
        load_scenario(path)


def test_a_load_in_an_unknown_group_ends_with_one_line_and_exit_code_2(tmp_path, capsys):
    path = with_load(tmp_path)
    path.write_text(path.read_text().replace("users: 3", "group: asia"))
    assert main(["run", str(path), "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no client group 'asia'" in line


def test_load_is_apart_from_what_a_run_collects_until_it_is_asked_for(tmp_path):
    path = write_small(tmp_path)
    apart = tmp_path / "load" / "long.yaml"
    apart.parent.mkdir()
    apart.write_text(SCENARIO)
    assert find_scenarios([tmp_path]) == [path]
    assert find_scenarios([apart.parent]) == [apart]
    assert find_scenarios([apart]) == [apart]
