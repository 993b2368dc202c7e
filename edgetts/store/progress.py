"""Show how far a pull or a conversion is, on one line of a terminal. Knows stages and fractions only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TextIO

Progress = Callable[[str, float], None]
"""Called with the stage's name and the fraction of it that is done, 0 to 1."""


def ignore_progress(stage: str, fraction: float) -> None:
    """Show nothing."""


class ProgressLine:
    """A bar that is redrawn in place on a terminal; elsewhere one plain line per stage."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._stage = ""
        self._shown = ""

    def __call__(self, stage: str, fraction: float) -> None:
        fraction = min(max(fraction, 0.0), 1.0)
        if not self._terminal:
            if stage != self._stage:
                self._stream.write(f"{stage}\n")
                self._stream.flush()
        else:
            if stage != self._stage:
                self.close()
            line = self._draw(stage, fraction)
            if line != self._shown:
                self._stream.write(f"\r{line}")
                self._stream.flush()
                self._shown = line
        self._stage = stage

    def close(self) -> None:
        """End the line, so that what is printed next starts on a fresh one."""
        if self._shown:
            self._stream.write("\n")
            self._stream.flush()
            self._shown = ""

    def _draw(self, stage: str, fraction: float) -> str:
        # One column stays free: a full line makes some terminals wrap.
        width = shutil.get_terminal_size().columns - 1
        cells = 24
        bar = "#" * round(cells * fraction)
        line = f"{stage:<44.44} [{bar:<{cells}}] {fraction:>4.0%}"
        return line if len(line) <= width else f"{stage} {fraction:.0%}"[:width].ljust(max(width, 0))
