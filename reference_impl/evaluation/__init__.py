"""Evaluates flags in flagd's format. `compile_flag` once per flag version, `CompiledFlag.evaluate` per request."""

from reference_impl.evaluation.errors import InvalidFlag
from reference_impl.evaluation.flag import Clock, CompiledFlag, compile_flag
from reference_impl.evaluation.resolution import (
    ErrorCode,
    FlagType,
    Json,
    Metadata,
    Reason,
    Resolution,
)

__all__ = [
    "Clock",
    "CompiledFlag",
    "ErrorCode",
    "FlagType",
    "InvalidFlag",
    "Json",
    "Metadata",
    "Reason",
    "Resolution",
    "compile_flag",
]
