"""By hand, beside another: `locust -f …/evaluate.py,…/shape.py --shape '{kind: ramp, over: 60s}' -u 100 --host …`."""

from locust import events

from harness.load.shaped import Shaped, check

events.init.add_listener(check)  # type: ignore[no-untyped-call]

__all__ = ["Shaped"]
