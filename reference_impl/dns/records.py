"""The zone's records: pure data, and the rules by which they change."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Protocol

import dns.exception
import dns.name
import msgspec

LONGEST_TTL: Final = 86_400  # s, as resolvers cap it (RFC 8767, section 4)
Ttl = Annotated[int, msgspec.Meta(ge=0, le=LONGEST_TTL)]


class InvalidRecordError(Exception):
    """A name or a record that can't be served, said in one line."""


class ConflictError(Exception):
    """The record is not at the version that the writer knows, or of a newer epoch. `version` is what it is at; 0: none."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"{name} is at version {version}")
        self.version = version


class RecordData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a writer gives. `addresses`: IPv4, the most preferred first. `ttl` in whole s (RFC 1035).

    `groups`: instead of `addresses`, what clients of that group are answered.
    `epoch`: the writer's term, where there are terms: a record of a newer one is not replaced.
    `checked`: of these, only the most preferred one that is well is given, where this server checks it.
    """

    addresses: Annotated[list[str], msgspec.Meta(min_length=1)]
    ttl: Ttl
    groups: dict[str, Annotated[list[str], msgspec.Meta(min_length=1)]] = {}
    checked: bool = False
    epoch: int = 0

    def for_group(self, group: str) -> list[str]:
        return self.groups.get(group, self.addresses)


class Record(RecordData, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`version`: the zone's serial when it was last changed."""

    version: int


class Zone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All records by name. `serial` counts the changes; between servers it tells which zone is newer."""

    serial: int = 0
    records: dict[str, Record] = {}


def canonical(name: str) -> str:
    """In lower case and without the last dot. Raises `InvalidRecordError` for what is no host name."""
    try:
        parsed = dns.name.from_text(name)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise InvalidRecordError(f"{name!r} is no name: {error}") from None
    if parsed == dns.name.root:
        raise InvalidRecordError("the root is no name for a record")
    return parsed.canonicalize().to_text(omit_final_dot=True)


def put(zone: Zone, name: str, data: RecordData, expected: int | None = None) -> Zone:
    """The zone with that record; `expected` is the version that it must have (0: none).

    Raises `InvalidRecordError`; `ConflictError` also for an epoch before that of the record that is there.
    """
    name = canonical(name)
    for address in (*data.addresses, *(one for many in data.groups.values() for one in many)):
        _check_address(address)
    _check_version(zone, name, expected)
    found = zone.records.get(name)
    if found is not None and data.epoch < found.epoch:
        raise ConflictError(name, found.version)
    serial = zone.serial + 1
    record = Record(
        addresses=data.addresses,
        ttl=data.ttl,
        groups=data.groups,
        checked=data.checked,
        epoch=data.epoch,
        version=serial,
    )
    return Zone(serial=serial, records={**zone.records, name: record})


def remove(zone: Zone, name: str, expected: int | None = None) -> Zone:
    """The zone without that record. Raises `ConflictError`."""
    name = canonical(name)
    _check_version(zone, name, expected)
    if name not in zone.records:
        return zone
    left = {known: record for known, record in zone.records.items() if known != name}
    return Zone(serial=zone.serial + 1, records=left)


def _check_version(zone: Zone, name: str, expected: int | None) -> None:
    found = zone.records.get(name)
    version = 0 if found is None else found.version
    if expected is not None and expected != version:
        raise ConflictError(name, version)


def _check_address(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError as error:
        raise InvalidRecordError(f"{text!r} is no IPv4 address: {error}") from None


class ZoneStore(Protocol):
    """Where a server keeps its zone over a restart. Raises `OSError` where it can't."""

    def load(self) -> Zone | None:
        """What was saved last; None where nothing was. Raises `ValueError` for what can't be read."""
        ...

    def save(self, zone: Zone) -> None:
        """When it returns, the zone outlives this process. All of it is saved, or nothing."""
        ...
