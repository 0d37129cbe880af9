import msgspec

from reference_impl.pop.checks import Check
from reference_impl.pop.levels import Level, Transition
from reference_impl.pop.status import CheckStatus, Step, StreamStatus


def as_json(status):
    return msgspec.json.decode(msgspec.json.encode(status))


def test_a_step_is_written_with_from_and_to():
    made = Transition(3, 1_500_000_000, Level.HEALTHY, Level.DEGRADED_L1, "streaming disconnected")
    assert as_json(Step.of(made)) == {
        "n": 3,
        "at": 1_500_000_000,
        "from": "HEALTHY",
        "to": "DEGRADED_L1",
        "reason": "streaming disconnected",
    }


def test_no_error_is_null():
    check = Check("kv")
    check.succeeded()
    assert as_json(CheckStatus.of(check)) == {"ok": True, "error": None}
    check.failed("TIMEOUT")
    assert as_json(CheckStatus.of(check)) == {"ok": True, "error": "TIMEOUT"}


def test_without_a_stream_link_there_is_no_state():
    assert as_json(StreamStatus.of(None))["state"] is None
