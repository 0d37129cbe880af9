"""By hand: `locust -f harness/load/locustfiles/evaluate.py --host http://127.0.0.1:8080`; docs/load.md."""

from harness.load.users import EvaluateUser

__all__ = ["EvaluateUser"]
