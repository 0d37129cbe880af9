"""Scaling thresholds on made-up series, beside a model that looks at the whole series each time."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.capacity.thresholds import Kind, Policy, PolicySettings, State, Watch

STEPS = st.lists(
    st.tuples(
        st.floats(0.1, 30.0),
        st.one_of(st.none(), st.sampled_from((0.0, 89.9, 90.0, 95.0, 100.0, 100.1, 500.0))),
    ),
    max_size=60,
)
LIMIT, CLEAR = 100.0, 0.9


def series(steps):
    at, made = 0.0, []
    for gap, value in steps:
        at += gap
        made.append((at, value))
    return made


def model(samples, hold):
    """What is said at each sample. For each, the run of samples up to it that all speak for a change is counted anew."""
    said, changed, raised = [], -1, False
    for i, (at, _) in enumerate(samples):
        speaks = (lambda v: v < LIMIT * CLEAR) if raised else (lambda v: v > LIMIT)
        first = i
        while (
            first - 1 > changed
            and samples[first - 1][1] is not None
            and speaks(samples[first - 1][1])
        ):
            first -= 1
        here = samples[i][1] is not None and speaks(samples[i][1])
        if here and at - samples[first][0] >= hold:
            raised, changed = not raised, i
            said.append(State.RAISED if raised else State.WITHDRAWN)
        else:
            said.append(None)
    return said


@given(STEPS, st.floats(0.1, 60.0))
def test_it_says_what_the_whole_series_says(steps, hold):
    samples = series(steps)
    watch = Watch(LIMIT, hold, CLEAR)
    assert [watch.see(at, value) for at, value in samples] == model(samples, hold)


@given(STEPS, st.floats(0.1, 60.0))
def test_never_before_it_was_above_for_the_whole_time(steps, hold):
    watch, above = Watch(LIMIT, hold, CLEAR), None
    for at, value in series(steps):
        above = None if value is None or value <= LIMIT else at if above is None else above
        if watch.see(at, value) is State.RAISED:
            assert above is not None
            assert at - above >= hold


@given(STEPS)
def test_raised_and_withdrawn_take_turns(steps):
    watch = Watch(LIMIT, 1.0, CLEAR)
    said = [state for at, value in series(steps) if (state := watch.see(at, value))]
    assert said == [State.RAISED, State.WITHDRAWN] * (len(said) // 2) + [State.RAISED] * (
        len(said) % 2
    )


# The specification's own figures: what is just not above each, and what is.
SPECIFIED = [
    (Kind.ADD_STREAM_SERVER, "connections", 10_000, 10_001),
    (Kind.ADD_STREAM_SERVER, "cpu", 0.7, 0.701),
    (Kind.ADD_STREAM_SERVER, "memory", 0.8, 0.801),
    (Kind.ADD_HUB, "pops", 50, 51),
    (Kind.ADD_HUB, "latency_p99_ms", 100, 100.1),
    (Kind.ADD_SHARD, "queries", 50_000, 50_001),
    (Kind.ADD_SHARD, "storage", 10**12, 10**12 + 1),
]


@pytest.mark.parametrize(("kind", "metric", "within", "above"), SPECIFIED)
def test_the_specifications_thresholds(kind, metric, within, above):
    policy = Policy(PolicySettings())
    for at in range(0, 600, 10):
        assert policy.see(at, kind, "n", {metric: within}) == []
    for at in range(600, 660, 10):
        assert policy.see(at, kind, "n", {metric: above}) == []
    [said] = policy.see(660, kind, "n", {metric: above})
    assert (said.kind, said.node, said.metric, said.state) == (kind, "n", metric, State.RAISED)
    assert (said.value, said.threshold) == (above, within)
    for at in range(670, 730, 10):
        assert policy.see(at, kind, "n", {metric: 0}) == []
    [said] = policy.see(730, kind, "n", {metric: 0})
    assert (said.value, said.state) == (0, State.WITHDRAWN)


def test_all_of_them_are_tested():
    settings = PolicySettings()
    groups = {
        Kind.ADD_STREAM_SERVER: settings.stream,
        Kind.ADD_HUB: settings.hub,
        Kind.ADD_SHARD: settings.shard,
    }
    known = {
        (kind, metric) for kind, group in groups.items() for metric in msgspec.structs.asdict(group)
    }
    assert {(kind, metric) for kind, metric, _, _ in SPECIFIED} == known


def test_nodes_and_metrics_do_not_speak_for_each_other():
    policy = Policy(PolicySettings(hold=10))
    high = {"connections": 20_000, "cpu": 0.5}
    assert policy.see(0, Kind.ADD_STREAM_SERVER, "a", high) == []
    assert policy.see(10, Kind.ADD_STREAM_SERVER, "b", high) == []
    [said] = policy.see(10, Kind.ADD_STREAM_SERVER, "a", high)
    assert (said.node, said.metric) == ("a", "connections")
    assert "raised: add_stream_server a connections" in repr(policy)


def test_what_nobody_knows_begins_anew():
    policy = Policy(PolicySettings(hold=10))
    for at in (0, 5):
        assert policy.see(at, Kind.ADD_HUB, "hub", {"pops": 60}) == []
    assert policy.see(9, Kind.ADD_HUB, "hub", {}) == []  # it did not answer
    for at in (10, 15, 19):
        assert policy.see(at, Kind.ADD_HUB, "hub", {"pops": 60}) == []
    assert len(policy.see(20, Kind.ADD_HUB, "hub", {"pops": 60})) == 1
