"""The history of flags over HTTP: `GET …/history?before=&limit=` and `GET …/versions/{version}`."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from reference_impl.archive.reads import Histories
from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.storage.versions import NEWEST
from reference_impl.web import error_response, json_response

LIMIT: Final = 50
MOST: Final = 1000


async def history(histories: Histories, request: web.Request, org: str, key: str) -> web.Response:
    """Newest first. `next` is the `before` of the following page, null after the last."""
    limit = _number(request.query.get("limit", str(LIMIT)), 1, MOST)
    before = _number(request.query.get("before", str(NEWEST)), 0, NEWEST)
    page = await histories.page(org, key, before, limit)
    versions = [_answer(change) for change in page.versions]
    return json_response({"versions": versions, "next": page.following})


async def version(histories: Histories, request: web.Request, org: str, key: str) -> web.Response:
    seq = _number(request.match_info["version"], 0, NEWEST)
    found = await histories.version(org, key, seq)
    if found is None:
        return error_response(404, f"flag {key!r} of organisation {org!r} has no version {seq}")
    return json_response(_answer(found))


def _answer(change: Change) -> dict[str, Any]:
    return {"version": change.seq, "flag": change.flag, "at": change.at}


def _number(text: str, least: int, most: int) -> int:
    """Raises `CallError` INVALID."""
    number = int(text) if text.isdecimal() and len(text) <= len(str(NEWEST)) else -1
    if not least <= number <= most:
        raise CallError(INVALID, f"{text!r} is no number from {least} to {most}")
    return number
