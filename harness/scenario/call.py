"""The step `call`: one HTTP request to a node, as an operator makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.errors import RuntimeFailure
from harness.history import Note
from harness.placeholders import filled
from harness.probes.http import HttpFailure

if TYPE_CHECKING:
    from harness.probes import Site
    from harness.scenario.model import Call

_MOST_SHOWN = 200  # characters of an answer


async def call(site: Site, step: Call) -> None:
    """Make the request once and note its answer. Raises `RuntimeFailure` for no answer, or one that is no success:
    what was to be measured would not have happened.
    """
    what = f"{step.method} {step.path} at {step.node}"
    body, headers = b"", dict(step.headers)
    if step.body is not None:
        body = msgspec.json.encode(filled(step.body, lambda name: site.node(name).host))
        headers.setdefault("Content-Type", "application/json")
    try:
        async with site.client(step.node) as client:
            response = await client.request(
                step.method, step.path, headers=headers, body=body, timeout=step.within
            )
    except HttpFailure as failure:
        raise RuntimeFailure(f"{what}: {failure.error}") from failure
    said = response.body[:_MOST_SHOWN].decode("utf-8", "replace")
    if response.error:
        raise RuntimeFailure(f"{what}: {response.error} {said}")
    site.record(Note(t=site.now(), source="call", text=f"{what}: {response.status} {said}"))
