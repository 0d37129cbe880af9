"""The OpenFeature Remote Evaluation Protocol (OFREP 0.3) on the data path.

An answer from memory is complete when the endpoint returns: it never waits. The bytes of an answer are made once per
outcome and kept until the PoP's level or log position changes, or what is hot.

Answers about a hot flag may be kept by others for a while: by its client, and where they are the same for everybody, by any
cache. Those can also be had by GET.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from reference_impl.evaluation import CompiledFlag, ErrorCode, Reason, Resolution
from reference_impl.pop.etags import Piece, etag, tags
from reference_impl.pop.flag_value import (
    Fallback,
    View,
    get_flag_value,
    known_keys,
    level_metadata,
    not_found,
)
from reference_impl.pop.levels import Level
from reference_impl.pop.popularity.counting import Popularity
from reference_impl.pop.popularity.detector import HotSettings
from reference_impl.pop.response import (
    Answer,
    Endpoint,
    Headers,
    ResponseWriter,
    refusal,
    response,
    too_many,
)

BULK: Final = b"/ofrep/v1/evaluate/flags"
SINGLE: Final = BULK + b"/"
DEFAULT_ORG: Final = "default"

# Answers that are kept; above it all are made anew. About 5 MB.
KEPT_ANSWERS: Final = 10_000

Route = Callable[[bytes, bytes, Headers, bytes], Answer]  # method, target, headers, body


class EvaluationRequest(msgspec.Struct, gc=False):
    """The body of an evaluation request. It lives too briefly for the garbage collector to care."""

    context: dict[str, Any] = {}


_decode = msgspec.json.Decoder(EvaluationRequest).decode
_encode = msgspec.json.Encoder().encode


class Ofrep:
    """The HTTP handler of a PoP: OFREP, and other paths by `routes`. `kept`: how many answers are kept."""

    kept = KEPT_ANSWERS

    def __init__(
        self,
        view: View,
        routes: Mapping[bytes, Route] | None = None,
        popularity: Popularity | None = None,
    ) -> None:
        self._view = view
        self._popularity = popularity or Popularity(HotSettings())
        self._popularity.changed = self._renew
        self._routes = dict(routes or {})
        self.who: dict[str, Any] = {"node": view.node}  # who answers, in the metadata
        self._level = view.level
        self._seq = view.seq
        self._answers: dict[Resolution, bytes] = {}
        self._pieces: dict[Resolution, Piece] = {}
        self._keys: tuple[str | None, int, list[str]] = (None, 0, [])
        self.evaluations = 0  # requests for one flag, however they were answered
        self.bulk_evaluations = 0

    def __repr__(self) -> str:
        return (
            f"<Ofrep of {self._view.node}, {len(self._answers)} answers kept for seq {self._seq}>"
        )

    def route(self, method: bytes, target: bytes, headers: Headers) -> Endpoint:
        """What answers requests with this head (`http.Handler`)."""
        path = target.partition(b"?")[0]
        if path != BULK and not path.startswith(SINGLE):
            return self._other(method, target, headers)
        name = headers.get(b"x-org-id")
        org = DEFAULT_ORG if name is None else name.decode(errors="replace")
        key = unquote_to_bytes(path[len(SINGLE) :]).decode(errors="replace")
        known = headers.get(b"if-none-match", b"")
        if key and method in (b"GET", b"HEAD"):
            return partial(self._shared, org, key, tags(known))
        if method != b"POST":
            return lambda _: _only_post()
        return self._single(org, key) if key else partial(self._bulk, org, tags(known))

    def _other(self, method: bytes, target: bytes, headers: Headers) -> Endpoint:
        route = self._routes.get(target.partition(b"?")[0])
        if route is None:
            return lambda _: refusal(HTTPStatus.NOT_FOUND)
        return partial(route, method, target, headers)

    # -- one flag ----------------------------------------------------------------------------------------------------

    def _single(self, org: str, key: str) -> Endpoint:
        """Evaluates one flag. Every name is bound here once: this is what a PoP does all day."""
        view, admit, kept = self._view, self._view.admit, self._answers
        count, name = self._popularity.count, (org, key)

        def evaluate(body: bytes) -> Answer:
            self.evaluations += 1
            wait = admit(org)
            if wait:
                return too_many(wait)
            try:
                context = _decode(body).context if body else {}
            except msgspec.DecodeError as error:
                return self._bad_request(key, error)
            level = view.level
            resolution = get_flag_value(view, level, org, key, context)
            if resolution is None:
                return partial(self._load, org, key, context)
            if level is not self._level or view.seq != self._seq:
                self._renew()
            count(name)
            return kept.get(resolution) or self._make(resolution, org)

        return evaluate

    def _shared(self, org: str, key: str, known: list[bytes], _: bytes) -> bytes:
        """To GET: the answer that is everybody's, while the flag is hot and the same for all."""
        view = self._view
        self.evaluations += 1
        wait = view.admit(org)
        if wait:
            return too_many(wait)
        name, level = (org, key), view.level
        resolution = get_flag_value(view, level, org, key, {})
        if level is not self._level or view.seq != self._seq:
            self._renew()
        headers = b"" if resolution is None else self._caching(resolution, org)
        if resolution is None or not headers.startswith(b"Cache-Control: public"):
            return _only_post()
        self._popularity.count(name)
        if self.tag(resolution).removeprefix(b"W/") in known:
            return response(HTTPStatus.NOT_MODIFIED, extra=headers)
        return self._answers.get(resolution) or self._make(resolution, org)

    def _caching(self, resolution: Resolution, org: str) -> bytes:
        """The header lines of an answer that may be kept: of a hot flag, while what the PoP has is not old itself."""
        key = resolution.key
        if (org, key) not in self._popularity.hot or self._view.level is not Level.HEALTHY:
            return b""
        ttl = self._popularity.settings.ttl
        flag = self._view.flag(org, key)
        if flag is None or not flag.static:
            return b"Cache-Control: private, max-age=%d\r\n" % ttl
        lines = b"Cache-Control: public, max-age=%d\r\nETag: %b\r\nVary: X-Org-Id\r\nContent-Location: %b%b\r\n"
        return lines % (ttl, self.tag(resolution), SINGLE, quote(key, safe="").encode())

    def tag(self, resolution: Resolution) -> bytes:
        """The ETag of an answer: weak, for who answers and the log position are in the answer, and not in it."""
        piece = self._pieces.get(resolution) or self._piece(resolution)
        return b"W/" + etag(self._view.level, [piece])

    def _make(self, resolution: Resolution, org: str) -> bytes:
        if resolution.error_code is not None:
            return self._once(resolution)
        if len(self._answers) >= self.kept:
            self._answers.clear()
        extra = self._caching(resolution, org) if self._popularity.hot else b""
        answer = self._answers[resolution] = self._once(resolution, extra)
        return answer

    def _once(self, resolution: Resolution, extra: bytes = b"") -> bytes:
        """An answer that is not kept."""
        status = HTTPStatus.OK
        if resolution.error_code is not None:
            missing = resolution.error_code is ErrorCode.FLAG_NOT_FOUND
            status = HTTPStatus.NOT_FOUND if missing else HTTPStatus.BAD_REQUEST
        return response(status, _encode(self._outcome(resolution)), extra=extra)

    async def _load(
        self, org: str, key: str, context: dict[str, Any], writer: ResponseWriter
    ) -> None:
        found = await self._view.load(org, key)
        await writer.send(self._make(self._loaded(org, key, found, context), org))

    def _loaded(
        self, org: str, key: str, found: CompiledFlag | Fallback | None, context: dict[str, Any]
    ) -> Resolution:
        """The outcome for a flag that was asked for elsewhere."""
        if isinstance(found, CompiledFlag):
            return found.evaluate(context, self._view.clock)
        if isinstance(found, Fallback):
            why = "not in memory, and the origin cannot be asked"
            return not_found(key, why, found.metadata)
        return not_found(key, f"unknown in organisation {org!r}")

    # -- all flags ---------------------------------------------------------------------------------------------------

    def _bulk(self, org: str, known: list[bytes], body: bytes) -> Answer:
        view = self._view
        self.bulk_evaluations += 1
        wait = view.admit(org)
        if wait:
            return too_many(wait)
        try:
            context = _decode(body).context if body else {}
        except msgspec.DecodeError as error:
            return self._bad_request("", error)
        return self._all(org, known, context)

    def _all(self, org: str, known: list[bytes], context: dict[str, Any]) -> Answer:
        view = self._view
        level, pieces = view.level, self._pieces
        if level is not self._level or view.seq != self._seq:
            self._renew()
        found = [
            pieces.get(resolution) or self._piece(resolution)
            for key in self._known_keys(org)
            if (resolution := get_flag_value(view, level, org, key, context)) is not None
        ]
        return self._together(level, found, known)

    def _together(self, level: Level, found: list[Piece], known: list[bytes]) -> bytes:
        tag = etag(level, found)
        extra = b"ETag: %b\r\n" % tag
        if tag in known:
            return response(HTTPStatus.NOT_MODIFIED, extra=extra)
        flags = b",".join([piece.outcome for piece in found])
        body = b'{"flags":[%b],"metadata":%b}' % (flags, _encode(self._metadata()))
        return response(HTTPStatus.OK, body, extra=extra)

    def _known_keys(self, org: str) -> list[str]:
        """Of the last organisation that was asked for, they are kept. At one log position they can only become more."""
        owner, count, keys = self._keys
        now = len(self._view.keys(org))
        if owner != org or count != now:
            keys = known_keys(self._view, org)
            self._keys = (org, now, keys)
        return keys

    def _piece(self, resolution: Resolution) -> Piece:
        piece = self._cut(resolution)
        if resolution.error_code is None:  # of errors each is another object
            if len(self._pieces) >= self.kept:
                self._pieces.clear()
            self._pieces[resolution] = piece
        return piece

    def _cut(self, resolution: Resolution) -> Piece:
        part = (
            *(resolution.key, resolution.variant, resolution.reason),
            *(resolution.error_code, resolution.flag_version),
        )
        tag = hashlib.blake2b(_encode(part), digest_size=8).digest()
        return Piece(_encode(self._outcome(resolution)), tag)

    def _renew(self) -> None:
        """Forget what was made for another level or log position."""
        self._answers.clear()
        self._pieces.clear()
        self._keys = (None, 0, [])
        self._level, self._seq = self._view.level, self._view.seq

    # -- parts of answers --------------------------------------------------------------------------------------------

    def _outcome(self, resolution: Resolution) -> dict[str, Any]:
        metadata = {**resolution.metadata, **self._metadata()}
        metadata["flag_version"] = resolution.flag_version
        if resolution.error_code is not None:
            return {
                "key": resolution.key,
                "errorCode": resolution.error_code,
                "errorDetails": resolution.error_details,
                "metadata": metadata,
            }
        outcome: dict[str, Any] = {
            "key": resolution.key,
            "reason": resolution.reason,
            "variant": resolution.variant or "",
            "metadata": metadata,
        }
        if resolution.variant is not None:  # otherwise the caller's default holds
            outcome["value"] = resolution.value
        return outcome

    def _metadata(self) -> dict[str, Any]:
        view = self._view
        return {
            **self.who,
            "level": view.level,
            "version": view.seq,
            **level_metadata(view.level),
        }

    def _bad_request(self, key: str, error: msgspec.DecodeError) -> bytes:
        invalid = isinstance(error, msgspec.ValidationError)
        code = ErrorCode.INVALID_CONTEXT if invalid else ErrorCode.PARSE_ERROR
        return self._make(Resolution(key, None, None, Reason.ERROR, code, str(error)), "")


def _only_post() -> bytes:
    return response(HTTPStatus.METHOD_NOT_ALLOWED, extra=b"Allow: POST\r\n")
