import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.load.options import shape_of
from harness.load.shape import Shape

# How long an example takes says something of the machine only.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

times = st.floats(0, 1000, allow_nan=False)
spans = st.floats(0.5, 100)
shares = st.floats(0, 1)


def shapes():
    durations = {"at": st.floats(0, 100), "over": spans, "lasts": spans}
    kinds = st.sampled_from(["steady", "ramp", "spike", "soak"])
    return st.builds(Shape, kind=kinds, least=shares, **durations)


@UNTIMED
@given(shapes(), times, st.integers(1, 10_000))
def test_there_are_never_more_users_than_asked_for_and_once_over_it_stays_over(shape, t, most):
    users = shape.users(t, most)
    assert users is None or 0 <= users <= most
    if users is None:
        assert shape.users(t + 1, most) is None


@UNTIMED
@given(spans, spans, shares, st.integers(1, 1000))
def test_a_ramp_only_rises_to_all(at, over, least, most):
    shape = Shape(kind="ramp", at=at, over=over, least=least)
    seen = [shape.users(at + over * n / 20, most) for n in range(21)]
    assert seen == sorted(seen)
    assert shape.users(0.0, most) == round(least * most)
    assert shape.users(at + over + 0.001, most) == most


def test_a_spike_is_up_from_its_begin_to_its_end_alone():
    shape = Shape(kind="spike", at=10.0, lasts=5.0, least=0.2)
    assert [shape.users(t, 100) for t in (0, 9.9, 10, 14.9, 15, 1000)] == [20, 20, 100, 100, 20, 20]


def test_a_soak_rises_stays_falls_and_is_over():
    shape = Shape(kind="soak", over=10.0, lasts=100.0)
    assert [shape.users(t, 100) for t in (0, 5, 10, 60, 110, 115)] == [0, 50, 100, 100, 100, 50]
    assert shape.users(120, 100) is None


def test_steady_lasts_as_long_as_it_says():
    assert Shape().users(1e9, 7) == 7
    assert [Shape(lasts=6.0).users(t, 7) for t in (0, 5.9, 6)] == [7, 7, None]


@UNTIMED
@given(times)
def test_the_share_of_a_spot_grows_and_its_users_stay(t):
    shape = Shape(kind="spot", group="europe", at=10.0, over=20.0, least=0.3, most=0.9)
    assert shape.users(t, 50) == 50
    expected = 0.3 if t < 10 else min(0.9, 0.3 + 0.6 * (t - 10) / 20)
    assert shape.share(t) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "ramp"}, "over"),
        ({"kind": "spike"}, "lasts"),
        ({"kind": "soak"}, "lasts"),
        ({"kind": "spot"}, "group"),
        ({"group": "europe"}, "group"),
        ({"least": 1.5}, "shares"),
        ({"at": -1.0}, "negative"),
    ],
)
def test_what_can_not_be_is_said(fields, said):
    with pytest.raises(ValueError, match=said):
        Shape(**fields)


def test_a_shape_by_hand_is_text_or_a_file(tmp_path):
    text = "{kind: ramp, over: 60s, least: 0.5}"
    (tmp_path / "ramp.yaml").write_text(text)
    wanted = Shape(kind="ramp", over=60.0, least=0.5)
    assert shape_of(text) == shape_of(str(tmp_path / "ramp.yaml")) == wanted
    assert shape_of("") == Shape()
    with pytest.raises(SpecError, match="'rmap'; did you mean 'ramp'"):
        shape_of("{kind: rmap, over: 60s}")
