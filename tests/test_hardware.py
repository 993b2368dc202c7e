"""What the machine is asked."""

from __future__ import annotations

import subprocess
import sys

from edgetts.runtimes.hardware import cores_busy_elsewhere, physical_cores


def test_there_is_a_core() -> None:
    assert physical_cores() >= 1


def test_a_busy_program_is_noticed_and_this_one_is_not() -> None:
    cores = physical_cores()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores + 2)]
    try:
        assert cores_busy_elsewhere() >= 1
    finally:
        for other in others:
            other.kill()
            other.wait()
