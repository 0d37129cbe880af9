"""The journal: what is done is on disk, and the next step follows from it."""

from reference_impl.failover.journal import STEPS, Journal


def test_a_controller_that_comes_back_goes_on_where_it_was(tmp_path):
    journal = Journal(tmp_path / "journal.json")
    begun = journal.begin("db-1", 2)
    assert begun.next == "detect"
    journal.done(begun, 10, "seen")
    begun.new = "db-2"
    journal.done(begun, 20, "db-2 is primary")
    again = Journal(tmp_path / "journal.json")
    again.load()
    assert again.current is not None
    assert (again.current.new, again.current.next) == ("db-2", "dns")
    assert [(s.step, s.at) for s in again.current.steps] == [("detect", 10), ("promote", 20)]


def test_all_steps_in_their_order_then_none(tmp_path):
    journal = Journal(tmp_path / "journal.json")
    journal.load()  # nothing there yet
    begun = journal.begin("db-1", 2)
    for n in range(len(STEPS)):
        journal.done(begun, n, "")
    assert tuple(step.step for step in begun.steps) == STEPS
    assert journal.current is None
    assert journal.begin("db-2", 3).n == 2
