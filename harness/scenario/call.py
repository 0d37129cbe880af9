"""The step `call`: one HTTP request to a node, as an operator makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.errors import RuntimeFailure
from harness.history import Call as Made
from harness.history import Note
from harness.placeholders import filled
from harness.probes.http import HttpFailure, Response
from harness.probes.status import trim

if TYPE_CHECKING:
    from harness.probes import Site
    from harness.scenario.model import Call

_MOST_SHOWN = 200  # characters of an answer


async def call(site: Site, step: Call) -> None:
    """Make the request once and note its answer. Without a label, raises `RuntimeFailure` for no answer, or one that is no
    success: what was to be measured would not have happened.
    """
    what = f"{step.method} {step.path} at {step.node}"
    body, headers = b"", dict(step.headers)
    if step.body is not None:
        body = msgspec.json.encode(filled(step.body, lambda name: site.node(name).host))
        headers.setdefault("Content-Type", "application/json")
    sent = site.now()
    try:
        async with site.client(step.node) as client:
            response = await client.request(
                step.method, step.path, headers=headers, body=body, timeout=step.within
            )
    except HttpFailure as failure:
        if not step.label:
            raise RuntimeFailure(f"{what}: {failure.error}") from failure
        at = failure.at - site.origin_ns
        site.record(Made(t=at, label=step.label, node=step.node, sent=sent, error=failure.error))
        return
    if step.label:
        site.record(_made(step, sent, response, site.origin_ns))
        return
    said = response.body[:_MOST_SHOWN].decode("utf-8", "replace")
    if response.error:
        raise RuntimeFailure(f"{what}: {response.error} {said}")
    site.record(Note(t=site.now(), source="call", text=f"{what}: {response.status} {said}"))


def _made(step: Call, sent: int, response: Response, origin: int) -> Made:
    try:
        data: object = msgspec.json.decode(response.body)
    except msgspec.DecodeError:
        data = response.body.decode("utf-8", "replace")
    return Made(
        t=response.end - origin,
        label=step.label,
        node=step.node,
        sent=sent,
        status=response.status,
        error=response.error,
        data=trim(data),
    )
