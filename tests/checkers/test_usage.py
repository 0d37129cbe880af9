"""Shares of CPU and memory, as the harness sees them."""

from build import Builder, ns

from harness.checkers.usage import cpu_between, cpu_shares, memory_shares


def test_cpu_is_of_a_second_at_least():
    b = Builder()
    for n in range(9):
        b.processes(n * 0.25, (7, 8), cpu=n * 0.25 * 0.3)
    shares = cpu_shares(b.history(3), "pop-a")
    assert [t for t, _ in shares] == [ns(n * 0.25) for n in range(4, 9)]
    assert all(abs(share - 0.6) < 1e-6 for _, share in shares)


def test_other_processes_are_no_continuation():
    b = Builder().processes(0, (7,), cpu=0).processes(1, (8,), cpu=5).processes(2, (8,), cpu=5.5)
    assert cpu_shares(b.history(3), "pop-a") == [(ns(2), 0.5)]
    assert cpu_between(b.history(3), "pop-a", 0, ns(3)) is None
    spent = cpu_between(b.history(3), "pop-a", ns(0.5), ns(3))
    assert (spent.start, spent.end, spent.cpu) == (ns(1), ns(2), ns(0.5))


def test_memory_is_a_share_of_the_limit():
    b = Builder().processes(0, (7, 8), 10).processes(1, (7, 8), 20)
    b.processes(2, (7,), error="gone")
    assert memory_shares(b.history(3), "pop-a", 40 << 20) == [(0, 0.5), (ns(1), 1.0)]
