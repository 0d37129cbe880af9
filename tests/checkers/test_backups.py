"""Backups, as stores list them: a schedule that stops, a retention too short or too long, the wrong place."""

from dataclasses import replace

import pytest
from build import Builder
from sound import SOUND, hourly

from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
SCHEDULE, KEPT, GONE, PLACE = range(4)


def judged(b, **changes):
    checker = replace(SOUND["backups"]()[0], **changes)
    found = checker(b.history(10.0))
    assert len(found) == 4
    return found


def verdicts(b, **changes):
    return [finding.verdict for finding in judged(b, **changes)]


def test_one_that_is_left_out_is_seen():
    found = judged(hourly(Builder(), made=lambda hour: hour != 4))
    assert found[SCHEDULE].verdict is FAIL
    assert found[SCHEDULE].value == pytest.approx(3600, abs=1)


def test_a_schedule_that_stops_is_seen():
    found = judged(hourly(Builder(), made=lambda hour: hour < 6))
    assert found[SCHEDULE].verdict is FAIL
    assert "none came for 6 h" in found[SCHEDULE].reason


def test_none_at_all_is_no_schedule():
    assert verdicts(hourly(Builder(), made=lambda _: False)) == [FAIL, UNKNOWN, UNKNOWN, UNKNOWN]


def test_every_second_hour_is_not_hourly_but_two_hourly():
    b = hourly(Builder(), made=lambda hour: hour % 2 == 0)
    assert verdicts(b)[SCHEDULE] is FAIL
    assert verdicts(b, every=7200.0)[SCHEDULE] is PASS


def test_one_that_goes_too_early_is_seen():
    assert verdicts(hourly(Builder(), keep=3)) == [PASS, FAIL, PASS, PASS]


def test_one_that_stays_too_long_is_seen():
    assert verdicts(hourly(Builder(), keep=9), keep=2 * 3600.0) == [PASS, PASS, FAIL, PASS]


def test_the_newest_may_stay_however_old():
    b = hourly(Builder(), hours=3, keep=99, made=lambda hour: hour == 0)
    assert verdicts(b, keep=1.0, grace=0.0)[GONE] is UNKNOWN


def test_a_watch_that_was_too_short_shows_no_retention():
    assert verdicts(hourly(Builder(), hours=4)) == [PASS, UNKNOWN, UNKNOWN, PASS]


def test_lists_too_far_apart_show_no_schedule():
    assert verdicts(hourly(Builder()), every=1800.0)[SCHEDULE] is UNKNOWN


def test_what_is_empty_is_no_backup():
    assert verdicts(hourly(Builder(), size=0))[SCHEDULE] is FAIL


def test_the_same_bytes_again_are_no_backup():
    b = Builder()
    b.topology = {"nodes": {"db": {"region": "us"}, "store-eu": {"region": "eu"}}}
    for hour in range(6):
        b.moved(0.5 + hour, 3600, hour * 3600)
        b.listed(0.6 + hour, *[(f"b/{n}", "the same") for n in range(hour + 1)])
    assert verdicts(b)[SCHEDULE] is FAIL


def test_a_store_that_does_not_list_makes_it_unknown():
    b = hourly(Builder()).listed(3.0, ok=False)
    assert verdicts(b)[:PLACE] == [UNKNOWN] * 3


def test_a_move_that_did_not_settle_makes_it_unknown():
    b = hourly(Builder()).moved(3.0, 0, 11 * 3600, settled=False)
    assert verdicts(b)[:PLACE] == [UNKNOWN] * 3


def test_a_clock_that_was_never_moved_shows_nothing():
    b = Builder()
    b.topology = {"nodes": {"db": {"region": "us"}, "store-eu": {"region": "eu"}}}
    assert verdicts(b.listed(1, "b/1"))[:PLACE] == [UNKNOWN] * 3


def test_the_region_of_what_is_backed_up_is_no_other():
    found = judged(hourly(Builder()), away_from="store-eu")
    assert found[PLACE].verdict is FAIL
    assert found[PLACE].reason == "store-eu is in the region of store-eu, eu"


def test_one_region_is_not_two():
    assert verdicts(hourly(Builder()), regions=2)[PLACE] is FAIL


def test_a_place_that_is_not_known_is_not_elsewhere():
    b = hourly(Builder())
    b.topology = {}
    assert verdicts(b)[PLACE] is UNKNOWN


# ----------------------------------------------------------------------------------------------------------- called


def call_verdict(b, **changes):
    (finding,) = replace(SOUND["called"]()[0], **changes)(b.history(10.0))
    return finding


@pytest.mark.parametrize(
    ("answer", "verdict", "says"),
    [
        ({"status": 503, "error": "SERVICE_UNAVAILABLE", "data": "no backup"}, FAIL, "no backup"),
        ({"error": "CONNECTION_RESET"}, FAIL, "CONNECTION_RESET"),
        ({"error": "TIMEOUT"}, UNKNOWN, "no answer was waited for after 1.0 s"),
        ({"status": 200, "data": {"point": {"piece": False}}}, FAIL, "point.piece is False"),
        ({"status": 200, "data": "text"}, FAIL, "point.piece is None"),
        ({"status": 200, "took": 3.0, "data": {"point": {"piece": True}}}, FAIL, "3 s is not <="),
    ],
)
def test_an_answer_that_is_not_as_it_must_be(answer, verdict, says):
    finding = call_verdict(Builder().called(4.0, **answer))
    assert finding.verdict is verdict
    assert says in finding.reason


def test_no_answer_within_the_bound_is_a_failure():
    assert call_verdict(Builder().called(4.0, took=2.5, error="TIMEOUT")).verdict is FAIL


def test_a_call_that_was_not_made_shows_nothing():
    finding = call_verdict(Builder())
    assert (finding.verdict, finding.reason) == (UNKNOWN, "the call restore was not made")
