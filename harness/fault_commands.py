"""`squall fault` and `squall heal`: break a cluster that is up, show that it bit, mend it, show that too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from harness.cluster_commands import attached, choose, interruptible
from harness.errors import RuntimeFailure, SquallError
from harness.fault_words import describe, fault_of
from harness.faults_registry import load_faults
from harness.undos import healed, in_force, words
from harness.yamlspec import parse_seconds

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from harness.fault import Fault, Proof, Undo
    from harness.runtime.leased import LeasedCluster
    from harness.runtime.wire import Entry

OK, UNKNOWN, INTERRUPTED = 0, 2, 130
WIDEST = 120  # characters
FAULT_WITHIN = 45.0  # s to inject, or to heal


def fault(args: argparse.Namespace) -> int:
    """0: it bit (and healed); 2: it could not be shown to; 130: interrupted, and healed at once."""
    faults = load_faults()
    if args.fault == "list":
        print("\n".join(describe(info) for info in faults.values()))
        return OK
    built = fault_of(faults, args.fault, args.fields)
    try:
        duration = None if args.duration is None else float(parse_seconds(args.duration))
    except ValueError as error:
        raise SquallError(f"--for: {error}") from None
    label = " ".join([args.fault, *args.fields])
    return interruptible(_fault(choose(args.cluster), built, label, duration))


def heal(args: argparse.Namespace) -> int:
    return interruptible(_heal(choose(args.cluster)))


async def _fault(name: str, fault: Fault, label: str, duration: float | None) -> int:
    async with attached(name) as cluster:
        try:
            fault.check(cluster)
        except ValueError as error:
            raise SquallError(str(error)) from None
        undos = fault.undo(cluster)
        await _not_twice(cluster, undos)
        # Until it is held, the warden undoes it as soon as this command ends, however that may be.
        entries = await _record(cluster, undos)
        try:
            async with asyncio.timeout(FAULT_WITHIN):
                await fault.inject(cluster)
                proof = await fault.verify(cluster)
        except BaseException as error:
            _say(f"{label}: undoing")
            await cluster.carry_out(entries)
            if isinstance(error, TimeoutError):
                raise SquallError(f"{label}: not done within {FAULT_WITHIN:g} s") from None
            raise
        if not proof.bit:
            _say(_proof("did NOT bite", proof))
            await _mend(cluster, fault, entries)
            return UNKNOWN
        _say(_proof("bit", proof))
        if duration is None:
            return await _leave(cluster, undos, entries)
        interrupted = await _interrupted_within(duration)
        healed = await _mend(cluster, fault, entries)
        return UNKNOWN if not healed else INTERRUPTED if interrupted else OK


async def _not_twice(cluster: LeasedCluster, undos: Iterable[Undo]) -> None:
    """Healing one of two equal faults would heal both."""
    for entry in await cluster.outstanding():
        if entry.undo in undos:
            raise SquallError(f"{words(entry.undo)} already; `squall heal` first")


async def _record(
    cluster: LeasedCluster, undos: Sequence[Undo], *, hold: bool = False
) -> list[Entry]:
    """The ledger is undone from its end; so the first to be undone is recorded last."""
    numbers = [await cluster.record(undo, hold=hold) for undo in reversed(undos)]
    return [entry for entry in await cluster.outstanding() if entry.id in numbers]


async def _leave(cluster: LeasedCluster, undos: Sequence[Undo], entries: Iterable[Entry]) -> int:
    """From now on it waits for `heal`, if there is anything left to be healed."""
    lasting = [undo for undo in undos if await in_force(cluster, undo)]
    await _record(cluster, lasting, hold=True)
    for entry in entries:
        await cluster.done(entry.id)
    _say("it stays until `squall heal`" if lasting else "it is over; there is nothing to heal")
    return OK


async def _interrupted_within(duration: float) -> bool:
    """Let time pass. An interruption means: heal it now; the next one ends the command, and the warden heals."""
    _say(f"healing in {duration:g} s; Ctrl-C heals at once")
    task = asyncio.current_task()
    assert task is not None
    try:
        await asyncio.sleep(duration)
    except asyncio.CancelledError:
        task.uncancel()
        return True
    return False


async def _mend(cluster: LeasedCluster, fault: Fault, entries: Iterable[Entry]) -> bool:
    try:
        async with asyncio.timeout(FAULT_WITHIN):
            await fault.heal(cluster)
            proof = await fault.verify_healed(cluster)
    except TimeoutError:
        raise SquallError(f"{fault.name}: not healed within {FAULT_WITHIN:g} s") from None
    for entry in entries:
        await cluster.done(entry.id)
    _say(_proof("healed" if proof.bit else "did NOT heal", proof))
    return proof.bit


async def _heal(name: str) -> int:
    async with attached(name) as cluster:
        entries = await cluster.outstanding()
        if not entries:
            print(f"no fault is in force on {name}")
            return OK
        failed = ""
        try:
            await cluster.carry_out(entries)
        except RuntimeFailure as error:
            failed = str(error)
        undos = dict.fromkeys(entry.undo for entry in entries)
        seen = await asyncio.gather(*(healed(cluster, undo) for undo in undos))
        for undo, (whole, what) in zip(undos, seen, strict=True):
            print(f"{'healed' if whole else 'NOT healed'} ({words(undo)}): {what}")
        if failed:
            raise SquallError(failed)
        return OK if all(whole for whole, _ in seen) else UNKNOWN


def _proof(word: str, proof: Proof) -> str:
    """One line; where much was looked at, a line for each thing seen."""
    line = f"{word}: {proof.seen}"
    return line if len(line) <= WIDEST else line.replace(": ", ":\n    ", 1).replace("; ", "\n    ")


def _say(line: str) -> None:
    print(line, flush=True)
