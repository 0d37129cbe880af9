"""Which versions are archived, against a model that looks at each version alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.archive.policy import ArchiveSettings, due
from reference_impl.clock import NS
from reference_impl.propagation.types import Change

NOW = 1_764_000_000 * NS


def log(ages):
    """Changes with these ages, s, in the order of the log."""
    return [Change(n, "acme", n, "k", {}, NOW - age * NS) for n, age in enumerate(ages, 1)]


@given(
    st.lists(st.integers(0, 100), max_size=30),
    st.integers(1, 30),
    st.integers(1, 100),
    st.integers(1, 40),
)
@settings(deadline=None)
def test_what_is_due(ages, keep, age, batch):
    changes = log(sorted(ages, reverse=True))
    settings = ArchiveSettings(keep=keep, age=age, batch=batch)
    found = due(changes[:batch], len(changes), NOW, settings)
    wanted = [
        change
        for n, change in enumerate(changes)
        if n < len(changes) - 1  # the very newest stays
        and (len(changes) - n > keep or NOW - change.at >= age * NS)
    ]
    assert found == wanted[:batch]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.integers(1, 30))
@settings(deadline=None)
def test_clocks_that_differ_leave_no_gap(ages, keep):
    """Writers' clocks are not in the log's order; what stays is nevertheless the end of the log."""
    changes = log(ages)
    found = due(changes, len(changes), NOW, ArchiveSettings(keep=keep, age=50))
    assert found == changes[: len(found)]
    assert len(changes) - len(found) <= max(keep, 1)
    assert len(found) < len(changes)
