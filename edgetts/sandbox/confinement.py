"""What this machine can keep a program from; asked of the machine once, by trying it in a process."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgetts.errors import RuntimeFailure, Unsupported
from edgetts.sandbox.limits import Limits

_ALWAYS = frozenset({"time", "output", "environment"})
_NEEDED = {"files": "from files outside its directory", "network": "from the network"}
_MECHANISMS = ("tether", "private", "resources", "landlock", "seccomp")


@dataclass(frozen=True, slots=True)
class Confinement:
    """What can be enforced here.

    enforced: as in Execution. mechanisms: by which means. failed: why others do not work, by mechanism.
    """

    enforced: frozenset[str]
    mechanisms: tuple[str, ...]
    failed: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def complete(self) -> bool:
        """Whether programs can be run without harm: no network, no files but their own."""
        return self.enforced >= _NEEDED.keys()


def confinement() -> Confinement:
    """Return what can be enforced on this machine.

    Raises Unsupported where no program can be run at all, RuntimeFailure where Python cannot be started.
    """
    if os.name != "posix":
        raise Unsupported(
            "Generated programs cannot be run on this system.", hint="On Windows, run edgetts in WSL."
        )
    if not sys.executable or getattr(sys, "frozen", False):
        raise Unsupported(
            "Generated programs need a Python interpreter, and this application has none of its own.",
            hint="Run edgetts with an ordinary Python.",
        )
    return _probed()


def required(unconfined: bool) -> Confinement:
    """Return what can be enforced, if that is enough. Raises Unsupported, which names what lacks."""
    found = confinement()
    if not found.complete and not unconfined:
        lacking = " and ".join(text for name, text in _NEEDED.items() if name not in found.enforced)
        reasons = "; ".join(f"{name}: {why}" for name, why in found.failed.items())
        raise Unsupported(
            f"This machine cannot keep a generated program {lacking} ({reasons or sys.platform}).",
            hint="Full confinement needs Linux 5.13 or newer with Landlock and seccomp, on x86-64 or aarch64. "
            "To run what you trust all the same, pass unconfined=True (on the command line "
            "--allow-unconfined).",
        )
    return found


def enforced_by(kept: Iterable[str]) -> frozenset[str]:
    """Return what is enforced, given what the child's mechanisms say they keep."""
    kept = set(kept)
    enforced = _ALWAYS | (kept & {"cpu", "file size", "memory"})
    if "calls" in kept:
        enforced |= {"network", "processes"}
    # Without the filter of calls the modes and owners of any file can be changed.
    if kept >= {"calls", "paths"}:
        enforced |= {"files"}
    return enforced


@functools.cache
def _probed() -> Confinement:
    from edgetts.sandbox.process import Process
    from edgetts.sandbox.scratch import scratch_directory
    from edgetts.sandbox.supervision import supervise

    tried = _MECHANISMS if sys.platform == "linux" else ("resources",)
    limits = Limits()
    with scratch_directory() as directory:
        # No program is run, so no process of one need be looked for.
        hoped = Confinement(_ALWAYS | {"processes"}, tried)
        process = Process({"task": "probe"}, limits, directory, hoped)
        supervise([process], limits, directory)
    if process.kept is None:
        raise RuntimeFailure(
            f"Python could not be started to run generated programs: {process.stderr.strip()[-500:] or 'no reason given'}.",
            hint=f"It was started as {sys.executable}.",
        )
    works = tuple(name for name in tried if name not in process.failed)
    if "seccomp" not in works:
        # What may start processes must be found by its environment, which privacy hides.
        works = tuple(name for name in works if name != "private")
    return Confinement(enforced_by(process.kept), works, dict(process.failed))
