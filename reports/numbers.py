"""Numbers as a reader wants them: no more digits than their error allows."""

from __future__ import annotations

import math
from datetime import UTC, datetime

RELATIONS = {"<=": "≤", ">=": "≥", "==": "=", "<": "<", ">": ">", "!=": "≠"}
DIGITS = 3  # significant, where no error says how many make sense
NOTHING = "—"
NEVER = "never"
COUNTED = {"", "s", "ms", "ratio"}  # units after which a bare 0 needs no unit


def plain(value: float) -> str:
    """Three significant digits without an exponent for ordinary sizes: 0.104, 12.3, 4,210."""
    if not math.isfinite(value):
        return NEVER if value > 0 else str(value)
    if value == 0:
        return "0"
    if value == int(value) and abs(value) < 1e15:  # noqa: PLR2004 - beyond it floats are no longer whole
        return f"{int(value):,}"
    size = math.floor(math.log10(abs(value)))
    if size < -6:  # noqa: PLR2004 - smaller than a microsecond: an exponent reads better
        return f"{value:.{DIGITS - 1}e}"
    text = f"{value:,.{max(DIGITS - 1 - size, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: float | None, unit: str) -> str:
    """``0.104 s``; a time of zero is just ``0``; nothing measured is ``—``."""
    if value is None:
        return NOTHING
    if value == 0 and unit in COUNTED:
        return "0"
    return _with_unit(plain(value), unit)


def measured(value: float | None, error: float | None, unit: str) -> str:
    """``0.104 s ± 0.006 s``. The error is rounded up, the value to the error's last digit."""
    if value is None or not error or not math.isfinite(value) or not math.isfinite(error):
        return quantity(value, unit)
    decimals = _decimals(error)
    step = 10.0**-decimals
    rounded = math.ceil(error / step - 1e-9) * step
    places = max(decimals, 0)
    shown = "0" if value == 0 else f"{round(value, decimals):,.{places}f}"
    return f"{_with_unit(shown, unit)} ± {_with_unit(f'{rounded:,.{places}f}', unit)}"


def compared(relation: str, bound: float | None, unit: str) -> str:
    """``≤ 60 s``; "" without a bound."""
    if bound is None:
        return ""
    return f"{RELATIONS.get(relation, relation)} {quantity(bound, unit)}"


def percent(part: int, whole: int) -> str:
    """``0.02 %``; a part that is not nothing never shows as 0 %."""
    if not part or not whole:
        return "0 %"
    return f"{plain(float(f'{100 * part / whole:.2g}'))} %"


def duration(seconds: float) -> str:
    """``48.2 s``, ``3 min 20 s``, ``1 h 4 min``: for what only orients, not for what is judged."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{plain(round(seconds, 1))} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _with_unit(number: str, unit: str) -> str:
    return number if unit in ("", "ratio") or number == NEVER else f"{number} {unit}"


def _decimals(error: float) -> int:
    """One digit of the error, two where it begins with 1 (rounding 1.4 to 2 would say too little)."""
    size = math.floor(math.log10(error))
    leading = error / 10.0**size
    return -size + (1 if leading < 2 else 0)  # noqa: PLR2004 - the leading digit is 1


def wall_time(unix: float) -> str:
    """``2026-11-23 22:10:05 UTC``; nothing known is ``—``."""
    if not unix:
        return NOTHING
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
