"""pytest plugin: scenario files are collected as tests, and tests of your own can run scenarios.

    pytest suites                          every scenario is a test
    pytest suites -k breaker -x            as with any test
    pytest suites -n 4 --junitxml=x.xml    side by side (xdist)

    @pytest.mark.requirement("P2")
    def test_our_retries(squall):
        result = squall.run("suites/scenarios/p2-retries.yaml", set=["pop.retry.jitter=0"])
        assert result.verdict is Verdict.PASS

A scenario whose verdict is unknown fails its test, with "unknown" as the reason: it has not shown what it promises.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.pytest_scenarios import ScenarioFile, Squall

# Everything heavy is imported when the first scenario is met: this module is loaded by every pytest in the environment.


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("squall", "chaos testing and conformance")
    group.addoption(
        "--squall-runtime", default="process", help="where nodes run: process (default) or docker"
    )
    group.addoption(
        "--squall-out",
        type=Path,
        default=Path("out"),
        metavar="DIR",
        help="where run folders go (default out/)",
    )
    group.addoption(
        "--squall-set",
        action="append",
        default=[],
        metavar="ROLE.SETTING=VALUE",
        help="change a setting of a role or node in every topology",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "requirement(id): the requirement of the specification that this test shows"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """A YAML file in a folder called `scenarios` is a scenario."""
    if file_path.suffix != ".yaml" or file_path.parent.name != "scenarios":
        return None
    from harness.pytest_scenarios import ScenarioFile  # noqa: PLC0415 - see above

    return ScenarioFile.from_parent(parent, path=file_path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("requirement"):
        item.user_properties.append(("requirement", str(mark.args[0])))


@pytest.fixture(scope="session")
def squall(request: pytest.FixtureRequest) -> Squall:
    """Runs scenarios: ``squall.run(path, set=[…])`` gives a Judged, ``squall.folder(judged)`` its folder."""
    from harness.pytest_scenarios import squall_of  # noqa: PLC0415 - see above

    return squall_of(request.config)
