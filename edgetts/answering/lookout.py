"""Look up what is known of this device and of a model's success, beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgetts.answering.adapting import ProgressFinder
    from edgetts.answering.planning import SuccessFinder
    from edgetts.control.success.model import SuccessModel
    from edgetts.energy.meter import MeterFactory
    from edgetts.profiles.device import DeviceProfile
    from edgetts.selection.stopping.progress import Progress


class Lookout:
    """Find the device's profile and its energy meter in a thread, which starts when it is made.

    home: the cache. notify: is told of files that cannot be trusted.
    """

    def __init__(self, home: Path, notify: Callable[[str], None]) -> None:
        self._home = home
        self._notify = notify
        self._device: DeviceProfile | None = None
        self._meters: MeterFactory | None = None
        self._error: BaseException | None = None
        # What others say would come between a progress line's parts.
        self._said: list[str] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def found(
        self, model: str
    ) -> tuple[DeviceProfile | None, SuccessFinder, MeterFactory | None, ProgressFinder]:
        """Return the device, what finds the success of the model at a task, what makes meters, and what finds what samples are like.

        Errors: InvalidInput, MissingExtra and Unsupported for a device or a meter that the environment names wrongly.
        """
        self._thread.join()
        for sentence in self._said:
            self._notify(sentence)
        if self._error is not None:
            raise self._error
        home, notify = self._home, self._notify

        def success(task: str | None, answer_format: str) -> SuccessModel:
            from edgetts.control.success.store import find_success  # a lone sample needs none

            return find_success(home, model, task=task, answer_format=answer_format, notify=notify)

        def progress(success: SuccessModel) -> Progress | None:
            from edgetts.answering.adapting import find_progress

            return find_progress(home, success, notify)

        return self._device, success, self._meters, progress

    def _look(self) -> None:
        try:
            from edgetts.energy.finding import find_meter
            from edgetts.energy.state import power_state
            from edgetts.profiles.devices import device_here

            self._device = device_here(self._home, self._said.append)
            self._meters = find_meter(self._device.power)
            # Some systems tell nothing when they are first asked.
            power_state(patience=0.5)
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            self._error = error
