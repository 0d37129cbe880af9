from hypothesis import given
from hypothesis import strategies as st

from reference_impl.pop.levels import (
    CHAIN,
    KEPT_TRANSITIONS,
    Dependencies,
    Errors,
    Level,
    LevelMachine,
    steps,
)

ALL_OK = Dependencies(streaming=True, kv=True, origin=True)
NONE_OK = Dependencies()

dependencies = st.builds(
    Dependencies, streaming=st.booleans(), kv=st.booleans(), origin=st.booleans()
)


def names(transitions):
    return [(t.source.value, t.to.value) for t in transitions]


def test_the_chain_is_in_the_order_of_the_specification():
    assert [level.value for level in CHAIN] == [
        "HEALTHY",
        "DEGRADED_L1",
        "DEGRADED_L2",
        "EMERGENCY",
    ]


def test_target_follows_streaming_then_kv_then_origin():
    assert ALL_OK.target is Level.HEALTHY
    assert Dependencies(streaming=True).target is Level.HEALTHY
    assert Dependencies(kv=True, origin=True).target is Level.DEGRADED_L1
    assert Dependencies(kv=True).target is Level.DEGRADED_L1
    assert Dependencies(origin=True).target is Level.DEGRADED_L2
    assert NONE_OK.target is Level.EMERGENCY


def test_everything_failing_at_once_passes_each_level_in_order():
    machine = LevelMachine(Level.HEALTHY)
    errors = Errors(streaming="CONNECTION_RESET", kv="CONNECTION_REFUSED", origin="TIMEOUT")
    walked = machine.observe(NONE_OK, at=7, errors=errors)
    assert names(walked) == [
        ("HEALTHY", "DEGRADED_L1"),
        ("DEGRADED_L1", "DEGRADED_L2"),
        ("DEGRADED_L2", "EMERGENCY"),
    ]
    assert [t.reason for t in walked] == [
        "streaming disconnected: CONNECTION_RESET",
        "KV unavailable: CONNECTION_REFUSED",
        "origin unreachable: TIMEOUT",
    ]
    assert {t.at for t in walked} == {7}


def test_everything_coming_back_at_once_passes_each_level_in_order():
    walked = LevelMachine().observe(ALL_OK, at=1)
    assert names(walked) == [
        ("EMERGENCY", "DEGRADED_L2"),
        ("DEGRADED_L2", "DEGRADED_L1"),
        ("DEGRADED_L1", "HEALTHY"),
    ]
    assert [t.reason for t in walked] == ["origin restored", "KV restored", "streaming restored"]


def test_step_by_step_down_and_up():
    machine = LevelMachine(Level.HEALTHY)
    course = [
        Dependencies(streaming=False, kv=True, origin=True),
        Dependencies(streaming=False, kv=False, origin=True),
        NONE_OK,
        Dependencies(origin=True),
        Dependencies(kv=True, origin=True),
        ALL_OK,
    ]
    seen = [[t.to for t in machine.observe(deps, at=i)] for i, deps in enumerate(course)]
    assert seen == [
        [Level.DEGRADED_L1],
        [Level.DEGRADED_L2],
        [Level.EMERGENCY],
        [Level.DEGRADED_L2],
        [Level.DEGRADED_L1],
        [Level.HEALTHY],
    ]


def test_a_step_up_for_a_better_dependency_does_not_claim_that_the_lesser_is_back():
    walked = LevelMachine().observe(Dependencies(kv=True), at=1)
    assert [t.reason for t in walked] == ["on the way to DEGRADED_L1", "KV restored"]
    walked = LevelMachine().observe(Dependencies(streaming=True), at=1)
    assert [t.reason for t in walked][-1] == "streaming restored"
    assert all(t.reason == "on the way to HEALTHY" for t in walked[:-1])


def test_only_the_last_transitions_are_kept_and_their_numbers_go_on():
    machine = LevelMachine(Level.HEALTHY)
    for i in range(KEPT_TRANSITIONS + 10):
        machine.observe(ALL_OK if i % 2 else Dependencies(kv=True), at=i)
    assert len(machine.transitions) == KEPT_TRANSITIONS
    assert machine.transitions[-1].n == machine.count == KEPT_TRANSITIONS + 10


def test_repr_shows_the_level():
    assert repr(LevelMachine()) == "<LevelMachine EMERGENCY after 0 transitions>"


@given(st.sampled_from(CHAIN), st.sampled_from(CHAIN))
def test_a_walk_joins_its_ends_by_neighbours_and_takes_no_detour(source, target):
    walk = steps(source, target)
    assert len(walk) == abs(CHAIN.index(source) - CHAIN.index(target))
    visited = [source, *(to for _, to in walk)]
    assert visited[-1] is target
    for (left, right), expected_left in zip(walk, visited, strict=False):
        assert left is expected_left
        assert abs(CHAIN.index(left) - CHAIN.index(right)) == 1


@given(st.lists(dependencies, max_size=30))
def test_any_course_of_events_is_one_unbroken_path_through_the_chain(course):
    machine = LevelMachine()
    for at, deps in enumerate(course):
        machine.observe(deps, at)
        assert machine.level is deps.target
    level = Level.EMERGENCY
    for n, step in enumerate(machine.transitions, start=1):
        assert step.n == n
        assert step.source is level
        assert abs(CHAIN.index(step.source) - CHAIN.index(step.to)) == 1
        level = step.to
    assert level is machine.level
    assert [t.at for t in machine.transitions] == sorted(t.at for t in machine.transitions)


@given(dependencies, dependencies)
def test_while_streaming_the_kv_and_the_origin_change_nothing(before, after):
    machine = LevelMachine(Level.HEALTHY)
    for deps in (before, after):
        streaming = Dependencies(streaming=True, kv=deps.kv, origin=deps.origin)
        assert machine.observe(streaming, at=0) == []


@given(st.sampled_from(CHAIN), dependencies)
def test_reasons_of_steps_down_are_true(level, deps):
    for step in LevelMachine(level).observe(deps, at=0):
        if step.reason.startswith("streaming disconnected"):
            assert not deps.streaming
        elif step.reason.startswith("KV unavailable"):
            assert not deps.kv
        elif step.reason.startswith("origin unreachable"):
            assert not deps.origin
        elif step.reason == "KV restored":
            assert deps.kv
        elif step.reason == "origin restored":
            assert deps.origin
        elif step.reason == "streaming restored":
            assert deps.streaming
        else:
            assert step.reason == f"on the way to {deps.target}"
