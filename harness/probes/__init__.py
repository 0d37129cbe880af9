"""Open-loop probes: what users, operators and subscribers of a platform see, recorded request by request."""

from __future__ import annotations

from harness.probes.alerts import AlertProbe
from harness.probes.evaluate import EvaluateProbe
from harness.probes.load import LoadProbe
from harness.probes.processes import ProcessesProbe
from harness.probes.read import ReadProbe
from harness.probes.recommendations import RecommendationsProbe
from harness.probes.site import Probe, Site
from harness.probes.status import StatusProbe
from harness.probes.subscribe import SubscribeProbe
from harness.probes.write import WriteProbe, flag_definition, targeted_flag, write_flags

AnyProbe = (
    EvaluateProbe
    | WriteProbe
    | ReadProbe
    | SubscribeProbe
    | StatusProbe
    | AlertProbe
    | ProcessesProbe
    | LoadProbe
    | RecommendationsProbe
)

# The names by which a scenario calls them.
PROBES: dict[str, type[AnyProbe]] = {
    "evaluate": EvaluateProbe,
    "write": WriteProbe,
    "read": ReadProbe,
    "subscribe": SubscribeProbe,
    "status": StatusProbe,
    "alerts": AlertProbe,
    "processes": ProcessesProbe,
    "load": LoadProbe,
    "recommendations": RecommendationsProbe,
}

__all__ = [
    "PROBES",
    "AlertProbe",
    "AnyProbe",
    "EvaluateProbe",
    "LoadProbe",
    "Probe",
    "ProcessesProbe",
    "ReadProbe",
    "RecommendationsProbe",
    "Site",
    "StatusProbe",
    "SubscribeProbe",
    "WriteProbe",
    "flag_definition",
    "targeted_flag",
    "write_flags",
]
