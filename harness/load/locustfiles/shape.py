"""By hand, beside another: `locust -f …/evaluate.py,…/shape.py --shape '{kind: ramp, over: 60s}' -u 100 --host …`."""

from harness.load.shaped import Shaped

__all__ = ["Shaped"]
