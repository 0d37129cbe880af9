"""Each platform here breaks one promise on purpose; a run must exit 1 and name that requirement, and no other.

The scenarios last as long as the specification's own values make them, so those of one session run side by side.
"""

from __future__ import annotations

import pytest

from tests.conformance.support import Case, all_runs, named_by

SIDE_BY_SIDE = 4


CASES = [
    Case("jitter-of-half", "P2", "p2-retries", ("pop.retry.jitter=0.5",), "retries"),
    Case("five-attempts", "P2", "p2-retries", ("pop.retry.max_attempts=5",), "retries"),
    Case("opens-after-six", "P1", "p1-breaker", ("pop.breaker.failure_threshold=6",), "breaker"),
    Case("open-for-20-s", "P1", "p1-breaker", ("pop.breaker.timeout=20",), "breaker"),
    Case("polls-each-20-s", "P3", "p3-levels", ("pop.poll_interval=20",), "staleness"),
    Case("levels-untold", "P3", "p3-levels", ("program=tests.broken.quiet_levels",), "levels"),
    Case("new-flags-in-l2", "P3", "p3-levels", ("program=tests.broken.eager_memory",), "answers"),
    Case("no-failover", "S2", "s2-hub-failure", ("pop.failover=false",), "recovery"),
    Case("stampede", "S2", "s2-hub-failure", ("pop.reconnect_spread=0",), "reconnect_spread"),
    Case("nobody-alerted", "S2", "s2-hub-failure", ("program=tests.broken.mute_alerts",), "alert"),
    Case("one-view", "M3", "m3-load-distribution", ("program=tests.broken.one_view",), "route"),
    Case(
        "never-falls-back", "M3", "m3-load-distribution", ("dns.health.failures=1000000",), "names"
    ),
    Case("forgets-names", "M3", "m3-dns-loss", ("pop.resolver.stale=0",), "status_field"),
    Case("drops-deltas", "S1", "s1-fan-out", ("program=tests.broken.drops_deltas",), "stream"),
    Case(
        "acknowledges-early", "D1", "d1-api-loss", ("program=tests.broken.early_ack",), "durability"
    ),
    Case(
        "acknowledges-alone",
        "D2",
        "d2-replication",
        ("database.synchronous=[]",),
        "durability",
        ("B1",),
    ),
    Case(
        "replica-late",
        "D2",
        "d2-replication",
        ("db-3.server.recovery_min_apply_delay=2s",),
        "stream",
        ("B1",),
    ),
    Case(
        "streams-read-the-primary",
        "S3",
        "s3-stream-tier",
        ("stream.database.prefer_standby=false",),
        "absent",
    ),
    Case("no-hierarchy", "C1", "c1-growth", ("program=tests.broken.relaying_hub",), "growth"),
    Case("drops-for-the-slow", "C1", "c1-growth", ("program=tests.broken.dropping_hub",), "growth"),
    Case(
        "never-recommends",
        "S4",
        "s4-short",
        ("advisor.stream.connections=1000000",),
        "recommended",
    ),
    Case(
        "recommends-early", "S4", "s4-short", ("program=tests.broken.hasty_advisor",), "recommended"
    ),
    Case(
        "writes-anywhere",
        "M1",
        "m1-passive-region",
        ("program=tests.broken.writes_anywhere",),
        "answers",
    ),
    Case(
        "dns-first", "M2", "m2-region-isolation", ("program=tests.broken.dns_first",), "procedure"
    ),
    Case("dns-not-updated", "M2", "m2-region-isolation", ("failover.name=''",), "procedure"),
    Case("region-unfenced", "M2", "m2-region-isolation", ("database.fence=false",), "exclusive"),
    Case(
        "asynchronous-after-all",
        "M2",
        "m2-region-isolation",
        ("db-us.synchronous=[]",),
        "durability",
    ),
    Case(
        "forgetful-controller",
        "M2",
        "m2-controller-lost",
        ("program=tests.broken.forgetful_failover",),
        "procedure",
    ),
    Case(
        "cache-not-invalidated",
        "D5",
        "d5-short",
        ("program=tests.broken.stale_cache",),
        "staleness",
    ),
    Case("cache-waited-for", "D5", "d5-cache", ("api.cache.timeout=5",), "availability"),
    Case("cache-stampede", "D5", "d5-short", ("api.cache.shelter=0.001",), "counter_rate"),
    Case(
        "archive-forgets", "D6", "d6-short", ("program=tests.broken.forgetful_archive",), "versions"
    ),
    Case("archive-never-deletes", "D6", "d6-short", ("archiver.keep=100000000",), "bounded"),
    Case("promotes-unfenced", "D3", "d3-zone-failure", ("database.fence=false",), "exclusive"),
    Case(
        "moves-everything",
        "D4",
        "d4-short",
        ("program=tests.broken.moves_everything", "mover.pace=0"),
        "placement",
    ),
    Case(
        "grows-unfenced",
        "D4",
        "d4-short",
        ("program=tests.broken.unfenced_growth", "mover.pace=0"),
        "placement",
    ),
    Case(
        "asks-every-shard",
        "D4",
        "d4-shard-loss",
        ("program=tests.broken.asks_every_shard",),
        "untouched",
    ),
    Case(
        "stale-worker",
        "E1",
        "e1-shared-store",
        ("program=tests.broken.stale_worker",),
        "shared_store",
    ),
    Case(
        "a-copy-per-worker",
        "E1",
        "e1-shared-store",
        ("program=tests.broken.copying_workers",),
        "shared_memory",
    ),
    Case(
        "worker-not-replaced",
        "E1",
        "e1-shared-store",
        ("program=tests.broken.lost_workers",),
        "replacement",
    ),
    Case(
        "keeps-a-dead-pop",
        "E2",
        "e2-pop-failure",
        (
            "program=tests.broken.keeps_dead_pop",
            "anycast.health.failures=1000000",
            "anycast.health.loss_is_down=false",
        ),
        "availability",
    ),
    Case(
        "prewarms-nearby", "E5", "e5-hot-flags", ("program=tests.broken.near_prewarms",), "prewarm"
    ),
    Case("etag-stays", "E5", "e5-hot-flags", ("program=tests.broken.eternal_etags",), "staleness"),
    Case("all-are-hot", "E5", "e5-hot-flags", ("pop.popularity.threshold=1",), "answers"),
    Case("hoards", "E6", "e6-tiered", ("program=tests.broken.hoarding_tiers",), "memory"),
    Case("cold-is-lost", "E6", "e6-tiered", ("program=tests.broken.lost_tiers",), "answers"),
    Case("loads-stale", "E6", "e6-tiered", ("program=tests.broken.stale_tiers",), "staleness"),
    Case("evicts-others", "E6", "e6-tiered", ("program=tests.broken.shared_tiers",), "answers"),
    Case("free-unlimited", "P4", "p4-flood", ("pop.tenants.free=[null, 1, 0]",), "availability"),
    Case("free-streams", "P4", "p4-degraded", ("hub.tenants.streams=100",), "open_streams"),
    Case(
        "pro-before-free",
        "P4",
        "p4-degraded",
        ("pop.tenants.free=[10, 10, 10]", "pop.tenants.pro=[null, 2, 10]"),
        "shedding",
    ),
    Case("cools-50-ms", "E3", "e3-short", ("pop.autoscale.cooldown=0.05",), "autoscaling"),
    Case(
        "kills-leaving-workers",
        "E3",
        "e3-short",
        ("program=tests.broken.kills_workers",),
        "availability",
    ),
    Case("weightless", "E4", "e4-hot-spot", ("program=tests.broken.weightless",), "hot_spot"),
    Case("uncounted", "E3", "load-totals", ("program=tests.broken.uncounted",), "load_totals"),
    Case("snapshots-stop", "B2", "b2-short", ("program=tests.broken.idle_backup",), "backups"),
    Case("keeps-a-day", "B2", "b2-short", ("backup.hourly.keep=100000",), "backups"),
    Case("one-region", "B3", "b3-short", ("backup.daily.stores=[store-us]",), "backups"),
    Case(
        "stale-restore", "B4", "b4-restore", ("program=tests.broken.stale_restore",), "durability"
    ),
    Case("holds-the-lease", "C2", "c2-disk-full", ("program=tests.broken.holds_on",), "mitigation"),
    Case("kv-of-one-region", "C2", "c2-edge", ("program=tests.broken.one_kv",), "mitigation"),
    Case("hub-without-backup", "C2", "c2-streams", ("pop.failover=false",), "mitigation"),
    Case("trusting", "B4", "b4-restore", ("program=tests.broken.trusting_restore",), "called"),
]


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    yield from all_runs(request, tmp_path_factory, CASES, SIDE_BY_SIDE)


@pytest.mark.e2e
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_broken_promise_is_named(runs, case):
    named_by(runs[case].result(), case)
