"""A PoP's own stream, `GET /stream`, for other PoPs and for tenants."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from reference_impl.pop.response import ResponseWriter, response, too_many
from reference_impl.propagation.fanout import last_event_id
from reference_impl.resilience.errors import CallError

if TYPE_CHECKING:
    from reference_impl.pop.response import Answer, Headers
    from reference_impl.propagation.fanout import FanOut


def stream_answer(fanout: FanOut, headers: Headers) -> Answer:
    """The stream from where the headers say; 400 for an id that is none, 429 where the tenant's tier has no place left."""
    try:
        last_id = last_event_id(headers.get(b"last-event-id", b"").decode("latin-1"))
    except CallError as error:
        return response(HTTPStatus.BAD_REQUEST, msgspec.json.encode({"error": error.detail}))
    org = headers.get(b"x-org-id")

    async def serve(writer: ResponseWriter) -> None:
        with fanout.lane(None if org is None else org.decode(errors="replace")) as lane:
            if lane is None:
                await writer.send(too_many(fanout.settings.tenants.retry_after))
                return
            await writer.start()
            try:
                await fanout.serve(last_id, writer.write, lane)
            except CallError as error:  # too slow: it may resume by its id
                raise ConnectionAbortedError(str(error)) from None

    return serve
