"""UpdateDNS as a failover controller does it: lead a name elsewhere, unless a newer term already has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from reference_impl.config import Upstream
from reference_impl.dns.records import Record, RecordData, Zone
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.resilience.http import HttpClient

T = TypeVar("T")


async def lead(
    http: HttpClient, primary: Upstream, name: str, addresses: Sequence[str], epoch: int
) -> int:
    """Let `name` lead everybody to `addresses`, most preferred first; its TTL stays. Returns the record's version.

    Safe to repeat. Raises `CallError`: HTTP_412 where the record is of a newer epoch, or was changed in between; HTTP_404
    where there is no such record.
    """
    record = await _find(http, primary, name)
    wanted = RecordData(
        addresses=list(addresses), ttl=record.ttl, checked=record.checked, epoch=epoch
    )
    if (record.addresses, record.groups, record.epoch) == (wanted.addresses, {}, epoch):
        return record.version
    answer = await http.request(
        "PUT",
        f"{primary.url}/records/{name}",
        body=msgspec.json.encode(wanted),
        headers={"If-Match": str(record.version)},
    )
    return _decoded(answer.body, _Receipt).version


class _Receipt(msgspec.Struct):
    version: int


async def _find(http: HttpClient, primary: Upstream, name: str) -> Record:
    answer = await http.request("GET", f"{primary.url}/records")
    record = _decoded(answer.body, Zone).records.get(name)
    if record is None:
        raise CallError("HTTP_404", f"{primary.to} has no record {name}")
    return record


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise CallError(INVALID, str(error)) from None
