"""Each benchmark works; how fast anything was is not looked at."""

import pytest

import benchmarks.__main__ as dispatcher
from benchmarks import _common, history, probe, propagation
from harness.units import NS as S
from harness.verdict import Verdict


def run(capsys, *argv):
    code = dispatcher.main(list(argv))
    return code, capsys.readouterr().out


def rows(output, name):
    """The numbers of all rows that begin with `name`, without the number of rounds."""
    found = [line.split() for line in output.splitlines() if line.strip().startswith(name)]
    return [[float(word.replace(",", "")) for word in words[-4:-1]] for words in found]


def test_a_table_shows_min_median_max_and_rounds(capsys):
    _common.show("title", [_common.Figure("name", "s", [3.0, 1.0, 2000.0])])
    title, head, row = capsys.readouterr().out.splitlines()
    assert title == "title"
    assert head.split() == ["min", "median", "max", "rounds"]
    assert row.split() == ["name", "s", "1.00", "3.00", "2,000", "3"]


def test_columns_are_as_wide_as_their_widest_cell(capsys):
    _common.show("", [_common.Figure("long name", "s", [1.0]), _common.Figure("x", "ms", [1234.5])])
    _, *lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("argv", "wanted"), [([], 7), (["--quick"], 2), (["--rounds", "3", "--quick"], 3)]
)
def test_rounds(argv, wanted):
    options = _common.parser("any", "about").parse_args(argv)
    assert _common.rounds_of(options, usual=7, quick=2) == wanted


def test_quiet_looks_once_when_it_may_not_wait(monkeypatch):
    shares = iter([90.0, 5.0])
    monkeypatch.setattr(_common.psutil, "cpu_percent", lambda interval: next(shares))
    quiet = _common.Quiet(0.0)
    quiet.wait()
    assert (quiet.loud, "90%" in quiet.told()) == (1, True)


def test_quiet_waits_until_others_are_done(monkeypatch):
    shares = iter([90.0, 80.0, 5.0, 70.0])
    monkeypatch.setattr(_common.psutil, "cpu_percent", lambda interval: next(shares))
    quiet = _common.Quiet(60.0)
    quiet.wait()
    assert (quiet.loud, next(shares)) == (0, 70.0)


def test_an_unknown_name_is_told_with_the_known_ones(capsys):
    assert dispatcher.main(["nonsense"]) == 2
    told = capsys.readouterr().err
    assert "'nonsense'" in told
    for name in (
        "evaluation",
        "history",
        "probe",
        "propagation",
        "rules",
        "start",
        "tiers",
        "workers",
    ):
        assert name in told
    assert "_common" not in told


def test_all_run_when_none_is_named_and_the_worst_code_counts(monkeypatch):
    ran = []

    def fake(name, options):
        ran.append((name, options))
        return 2 if name == "history" else 0

    monkeypatch.setattr(dispatcher, "_run", fake)
    assert dispatcher.main(["--quick"]) == 2
    assert ran == [
        (name, ["--quick"])
        for name in (
            "evaluation",
            "fanout",
            "history",
            "probe",
            "propagation",
            "rules",
            "start",
            "tiers",
            "workers",
        )
    ]


def test_several_run_in_the_order_named(monkeypatch):
    ran = []
    monkeypatch.setattr(dispatcher, "_run", lambda name, options: ran.append(name) or 0)
    assert dispatcher.main(["start", "history"]) == 0
    assert ran == ["start", "history"]


def test_history(capsys):
    code, output = run(capsys, "history", "--events", "8000", "--rounds", "1")
    assert code == 0
    for name in ("write", "read", "judge", "reports"):
        [[low, middle, high]] = rows(output, name)
        assert 0 < low == middle == high


def test_the_made_up_history_holds_what_its_checks_ask_for():
    """Else the checks would give up early, and the time for judging would be of something else."""
    _, judged, count, size = history.measure(9000, 1, _common.Quiet(0.0))
    assert judged.verdict is Verdict.PASS, [
        finding for finding in judged.findings if finding.verdict is not Verdict.PASS
    ]
    assert {finding.check for finding in judged.findings} == {
        "availability", "recovery", "staleness", "stream", "propagation", "durability",
    }  # fmt: skip
    assert count > 9000
    assert size > 100 * count


def test_a_made_up_history_has_about_as_many_events_as_asked_for():
    assert 0.98 < len(history.made_up(20_000)) / 20_000 < 1.02


def test_probe(capsys):
    code, output = run(capsys, "probe", "--rounds", "1", "--seconds", "0.2")
    assert code == 0
    costs = rows(output, "CPU time per request")
    assert len(costs) == len(probe.RATES)
    assert all(low > 0 for low, _, _ in costs)


def test_delays_are_told_from_acknowledgement_and_from_commit():
    watch = propagation.Watch()
    watch.acked = {5: 3 * S}
    origin = propagation.now_ns()
    wall = propagation.time.time_ns()
    change = propagation.Stream(t=9 * S, probe="pop", what="change", id=5, at=wall + 2 * S)
    watch.record(change)
    found = propagation.delays(watch, ["pop"], origin)
    assert found.from_ack == {"pop": [6000.0]}
    assert found.from_at["pop"][0] == pytest.approx(7000.0, abs=500.0)


@pytest.mark.e2e
def test_fanout(capsys):
    code, output = run(capsys, "fanout", "--quick", "--changes", "5")
    assert code == 0
    assert all(0 < low == middle == high for low, middle, high in rows(output, "delay p99 "))
    assert [row for row in rows(output, "gaps and repeats") if any(row)] == []
    [[back, *_]] = rows(output, "all back")
    assert 0 < back < 60


@pytest.mark.e2e
def test_start(capsys):
    code, output = run(capsys, "start", "--rounds", "1", "--topology", "single-pop")
    assert code == 0
    for kind in ("warm", "cold"):
        [[ready, *_], [healthy, *_], [ended, *_]] = rows(output, kind)
        assert 0 < ready < healthy
        assert ended > 0


@pytest.mark.e2e
def test_propagation(capsys):
    code, output = run(
        capsys, "propagation", "--rounds", "1", "--seconds", "0.5", "--topology", "single-pop"
    )
    assert code == 0
    assert "acknowledged per round: [" in output
    assert len(rows(output, "pop-1 p99")) == 2
    [ack, at] = rows(output, "pop-1 p50")
    assert 0 < at[1] > ack[1]


def test_rules(capsys):
    code, output = run(capsys, "rules", "--quick")
    assert code == 0
    ratios = rows(output, "ratio")
    assert len(ratios) == 9
    assert all(low > 0 for low, _, _ in ratios)
    assert "all of 500 flags" in output


def test_tiers(capsys):
    code, output = run(capsys, "tiers", "--quick")
    assert code == 0
    [[low, _, _]] = rows(output, "first use")
    assert low > 0
    [[everything, _, _]] = rows(output, "8000 flags of 1 KB, all")
    [[bounded, _, _]] = rows(output, "8000 flags of 1 KB, tiers of 4 MiB")
    assert 2 * bounded < everything


@pytest.mark.e2e
def test_workers(capsys):
    code, output = run(capsys, "workers", "--quick")
    assert code == 0
    assert all(0 < low == middle == high for low, middle, high in rows(output, "growth"))
    assert len(rows(output, "growth")) == 2
