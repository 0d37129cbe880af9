"""Finds the faults: every class of that shape in the packages that declare the entry point group "squall.faults"."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from harness.errors import SquallError
from harness.fault import Fault, FaultInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

GROUP = "squall.faults"
_MEMBERS = ("targets", "check", "undo", "inject", "verify", "heal", "verify_healed")


def load_faults(packages: Iterable[str] | None = None) -> dict[str, FaultInfo]:
    """All faults by name, sorted. `packages` in place of those that entry points name.

    Modules whose name begins with "_" are not searched. Raises `SquallError` for a package that can't be imported,
    a class that is not a whole fault, and two faults of one name.
    """
    if packages is None:
        packages = sorted({point.value for point in entry_points(group=GROUP)})
    found: dict[str, FaultInfo] = {}
    for package in packages:
        for module in _modules(package):
            for cls in _faults_of(module):
                info = FaultInfo(cls.name, _summary(cls), cls)
                other = found.setdefault(info.name, info)
                if other is not info:
                    raise SquallError(
                        f"two faults are called '{info.name}': {_place(other.cls)} and {_place(cls)}"
                    )
    return dict(sorted(found.items()))


def _modules(package: str) -> Iterator[ModuleType]:
    root = _import(package)
    yield root
    for each in pkgutil.iter_modules(getattr(root, "__path__", ())):
        if not each.name.startswith("_"):
            yield _import(f"{package}.{each.name}")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise SquallError(
            f"faults in {name} can't be loaded: {type(error).__name__}: {error}"
        ) from error


def _faults_of(module: ModuleType) -> Iterator[type[Fault]]:
    """Classes that the module itself defines and that have a `name` of their own."""
    for cls in vars(module).values():
        if not inspect.isclass(cls) or cls.__module__ != module.__name__ or cls.__name__[0] == "_":
            continue
        name = vars(cls).get("name")
        if not isinstance(name, str):
            continue
        missing = [member for member in _MEMBERS if not callable(getattr(cls, member, None))]
        if not dataclasses.is_dataclass(cls) or missing:
            lacks = f"it lacks {', '.join(missing)}" if missing else "it is no data class"
            raise SquallError(f"{_place(cls)} is called '{name}' but is not a fault: {lacks}")
        yield cast("type[Fault]", cls)


def _summary(cls: type) -> str:
    return (inspect.getdoc(cls) or "").strip().split("\n")[0]


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__name__}"
