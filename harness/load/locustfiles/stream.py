"""By hand: `locust -f harness/load/locustfiles/stream.py --host http://127.0.0.1:8080`; docs/load.md."""

from harness.load.users import StreamUser

__all__ = ["StreamUser"]
