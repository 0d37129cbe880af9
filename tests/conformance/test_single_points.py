"""Each component of the specification's table of single points of failure is killed by a scenario, and its mitigation judged."""

from __future__ import annotations

from itertools import dropwhile

import pytest

from harness.checkers.mitigation import Mitigation
from harness.requirements import single_points
from harness.scenario.load import load_scenario
from harness.scenario.model import Heal, Inject
from tests.conformance.support import SCENARIOS


def killed_and_healed(scenario, label):
    """Whether a step injects the fault of that label, and a later one heals it."""

    def injects(step):
        return isinstance(step, Inject) and step.label == label

    rest = list(dropwhile(lambda step: not injects(step), scenario.steps))
    heals = [step for step in rest if isinstance(step, Heal) and step.label in (label, "all")]
    return bool(rest) and bool(heals)


@pytest.fixture(scope="module")
def scenarios():
    loaded = [load_scenario(path) for path in sorted(SCENARIOS.glob("*.yaml"))]
    return [scenario for scenario in loaded if "C2" in scenario.requirements]


@pytest.mark.parametrize("point", single_points(), ids=lambda point: point.component)
def test_a_scenario_kills_it_and_judges_what_takes_over_and_the_way_back(scenarios, point):
    shown = [
        (scenario.name, check.fault)
        for scenario in scenarios
        for check in scenario.checks
        if isinstance(check, Mitigation)
        and check.requirement == "C2"
        and check.component == point.component
        and check.back_within is not None
        and killed_and_healed(scenario, check.fault)
    ]
    assert shown, f"no scenario kills {point.component} and judges its mitigation"
