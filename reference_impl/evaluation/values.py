"""JsonLogic's view of values: truth, conversion, comparison, lookup. The semantics are JavaScript's."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

Number: TypeAlias = int | float

NAN = math.nan


def truthy(value: Any) -> bool:
    """JsonLogic's truth: as in JavaScript, but an empty list is false."""
    if type(value) is bool:
        return value
    if isinstance(value, dict):
        return True
    return bool(value) and value == value  # noqa: PLR0124 - NaN is false


def number(value: Any) -> Number:
    """The value as a number; NaN where it is none."""
    if isinstance(value, int | float):
        return value
    if value is None:
        return 0
    if isinstance(value, str):
        return _parse(value)
    if isinstance(value, list):
        return 0 if not value else number(value[0]) if len(value) == 1 else NAN
    return NAN


def _parse(text: str) -> float:
    try:
        parsed = float(text)
    except ValueError:
        return NAN
    # Python also reads "inf", which no other JsonLogic does.
    return NAN if text.strip().lower() in {"inf", "+inf", "-inf"} else parsed


def text(value: Any) -> str:  # noqa: PLR0911 - one per type
    """The value as text."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return ",".join(text(item) for item in value)
    return "[object Object]"


def loose_equal(a: Any, b: Any) -> bool:
    """`==`: converts between types. Lists and objects equal only themselves."""
    if type(a) is type(b):
        return a is b if isinstance(a, list | dict) else a == b
    if a is None or b is None:
        return False
    if isinstance(a, int | float) or isinstance(b, int | float):
        return number(a) == number(b)
    if isinstance(a, str) or isinstance(b, str):
        return text(a) == text(b)
    return False


def strict_equal(a: Any, b: Any) -> bool:
    """`===`: no conversion. 1 and 1.0 are the same number; true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def contains(haystack: Any, needle: Any) -> bool:
    """`in`: an element of a list, or a part of a text."""
    if isinstance(haystack, list):
        return any(strict_equal(item, needle) for item in haystack)
    if isinstance(haystack, str):
        return text(needle) in haystack
    return False


def comparable(a: Any, b: Any) -> tuple[Any, Any]:
    """Both as numbers, or both as texts if one is a text and the other not a number."""
    if isinstance(a, int | float) or isinstance(b, int | float):
        return number(a), number(b)
    if isinstance(a, str) or isinstance(b, str):
        return text(a), text(b)
    return number(a), number(b)


def lookup(data: Any, key: Any, default: Any = None) -> Any:
    """`var`: follow a dotted path into the data; `default` where it leads nowhere or to null."""
    if key is None or key == "":
        return data
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    for part in text(key).split("."):
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list | str):
            if part == "length":
                return len(data)
            if not _is_index(part, len(data)):
                return default
            data = data[int(part)]
        else:
            return default
    return default if data is None else data


def _is_index(part: str, length: int) -> bool:
    # The written form must be the number's own: "01" and "+1" are names, not places.
    return part.isascii() and part.isdigit() and str(int(part)) == part and int(part) < length


def missing(data: Any, *keys: Any) -> list[Any]:
    """Those of the keys that lead to nothing, null or an empty text. One list of keys serves as well."""
    wanted = keys[0] if keys and isinstance(keys[0], list) else keys
    return [key for key in wanted if lookup(data, key) in (None, "")]


def missing_some(data: Any, needed: Any = 0, keys: Any = None) -> list[Any]:
    """Nothing if at least `needed` of the keys are there, else the missing ones."""
    if not isinstance(keys, list):
        return []
    absent = missing(data, keys)
    return [] if len(keys) - len(absent) >= number(needed) else absent


def substring(value: Any, start: Any, length: Any = None) -> str:
    """`substr`: a negative start counts from the end, a negative length leaves that many off."""
    whole, first = text(value), number(start)
    size = len(whole)
    if math.isnan(first):
        begin = 0
    elif first < 0:
        begin = 0 if -first >= size else size - int(-first)
    else:
        begin = min(int(first), size)
    if length is None:
        return whole[begin:]
    count = number(length)
    if math.isnan(count):
        return ""
    count = int(count)
    return whole[begin : max(size + count, begin) if count < 0 else begin + count]


def remainder(a: Any, b: Any) -> Number:
    """`%`: has the sign of the dividend. Raises `ZeroDivisionError`."""
    dividend, divisor = number(a), number(b)
    if isinstance(dividend, float) or isinstance(divisor, float):
        if divisor == 0:
            raise ZeroDivisionError("modulo by zero")
        return NAN if math.isinf(dividend) else math.fmod(dividend, divisor)
    return abs(dividend) % abs(divisor) * (-1 if dividend < 0 else 1)


def minus(a: Any, b: Any = None) -> Number:
    """`-`: the difference, or with one argument the negative."""
    return -number(a) if b is None else number(a) - number(b)


def total(*values: Any) -> Number:
    """`+`: the sum; of one text, its number."""
    result: Number = 0
    for value in values:
        result += number(value)
    return result


def product(*values: Any) -> Number:
    """`*`."""
    result: Number = 1
    for value in values:
        result *= number(value)
    return result


def merged(*values: Any) -> list[Any]:
    """`merge`: lists become one, other values its elements."""
    items: list[Any] = []
    for value in values:
        if isinstance(value, list):
            items.extend(value)
        else:
            items.append(value)
    return items
