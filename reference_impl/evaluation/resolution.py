"""What an evaluation gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Metadata: TypeAlias = Mapping[str, bool | int | float | str]


class Reason(StrEnum):
    """Why a value is what it is, in OpenFeature's words."""

    STATIC = "STATIC"
    TARGETING_MATCH = "TARGETING_MATCH"
    DEFAULT = "DEFAULT"
    DISABLED = "DISABLED"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """OpenFeature's error codes."""

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    PARSE_ERROR = "PARSE_ERROR"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    GENERAL = "GENERAL"


class FlagType(StrEnum):
    """The one type that all variants of a flag have."""

    BOOLEAN = "boolean"
    STRING = "string"
    NUMBER = "number"
    OBJECT = "object"


# eq=False: the same outcome of the same flag version is the same object, so answers can be kept by it.
@dataclass(frozen=True, slots=True, eq=False)
class Resolution:
    """The outcome of one evaluation. Without a `variant` there is no value: the caller's own default holds."""

    key: str
    value: Json
    variant: str | None
    reason: Reason
    error_code: ErrorCode | None = None
    error_details: str = ""
    metadata: Metadata = field(default_factory=dict)
    flag_version: int = 0  # log position of the flag's last change
