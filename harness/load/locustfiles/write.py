"""By hand: `locust -f harness/load/locustfiles/write.py --host http://127.0.0.1:8080`; docs/load.md."""

from harness.load.users import WriteUser

__all__ = ["WriteUser"]
