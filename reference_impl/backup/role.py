"""The backup node ("Backup Strategy"): WAL continuously, snapshots each hour to another region, full backups each day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from reference_impl.alerts.sender import AlertSender
from reference_impl.backup.catalogue import Catalogue
from reference_impl.backup.policy import DAY, HOUR, Schedule
from reference_impl.backup.primary import PostgresPrimary
from reference_impl.backup.programs import PostgresPrograms, Programs, ProgramSettings
from reference_impl.backup.snapshots import Snapshots
from reference_impl.backup.wal import WalSettings, WalShipper
from reference_impl.clock import PlatformClock, stamp
from reference_impl.config import ConfigError, NodeConfig, Positive
from reference_impl.objectstore.http import HttpObjectStore, StoreSettings
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import Site, Tasks


class Hourly(Schedule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `Schedule`, as the specification has it."""

    every: Positive = HOUR
    keep: Positive = 7 * DAY


class Daily(Schedule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `Schedule`, as the specification has it."""

    every: Positive = DAY
    keep: Positive = 90 * DAY


class BackupSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `stores` of a schedule say which of the "store" links its backups go to."""

    hourly: Hourly = Hourly()
    daily: Daily = Daily()
    wal: WalSettings = WalSettings()
    store: StoreSettings = StoreSettings()
    postgres: ProgramSettings = ProgramSettings()


class BackupNode:
    """A `Role`. Links: "db" (the first that takes writes is backed up), "store" (each location), "alerts"."""

    def __init__(self, config: NodeConfig, env: Env, programs: Programs | None = None) -> None:
        self.config = config
        self.env = env
        self.settings = settings = config.settings_as(BackupSettings)
        self._check_stores()
        self.clock = PlatformClock(env.wall_ns)
        self.tasks = Tasks()
        self.http = HttpClient()
        self.alerts = AlertSender(config.name, config.upstreams("alerts"), self.http, env)
        stores = [
            HttpObjectStore(link, settings.store, self.http, env.random)
            for link in config.upstreams("store")
        ]
        servers = config.upstreams("db")
        self.programs = programs or PostgresPrograms(servers, settings.postgres)
        self.primary = PostgresPrimary(servers, settings.postgres.user)
        self.work = Path(config.state_dir) / "work"
        self.received = Path(config.state_dir) / "wal"
        self.snapshots = Snapshots(
            self.programs,
            self.work,
            [Catalogue(store) for store in stores],
            {"hourly": settings.hourly, "daily": settings.daily},
            self.clock,
            self.alerts,
            settings.wal.retry,
        )
        self.wal = WalShipper(
            self.programs,
            self.received,
            stores,
            settings.wal,
            self.primary,
            self.alerts,
            self.snapshots.demand,
        )
        self.site = Site(self._status, lambda: None)
        self.clock.serve(self.site, self.snapshots.look)

    def __repr__(self) -> str:
        return f"<BackupNode {self.config.name} {self.snapshots!r} {self.wal!r}>"

    async def start(self) -> None:
        for folder in (self.work, self.received):
            folder.mkdir(parents=True, exist_ok=True)
        await self.site.start(self.config.listen.host, self.config.listen.port)
        self.tasks.start(self.alerts.run, "alerts")
        self.tasks.start(self.wal.receive, "receive")
        self.tasks.start(self.wal.ship, "ship")
        self.tasks.start(self.snapshots.run, "snapshots")

    async def stop(self) -> None:
        await self.site.stop()
        await self.tasks.stop()
        self.primary.close()
        await self.http.close()

    def _check_stores(self) -> None:
        known = {link.to for link in self.config.upstreams("store")}
        for schedule in (self.settings.hourly, self.settings.daily):
            for name in schedule.stores:
                if name not in known:
                    raise ConfigError(
                        f"{self.config.name}: no link with use 'store' goes to {name!r}"
                    )
        self.config.upstream("store")

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "clock": stamp(self.clock.now()),
            "wal": self.wal.status(),
            "alerts": self.alerts.raised,
            **self.snapshots.status(),
        }
