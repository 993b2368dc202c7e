"""Open a bundle by the session that its kind of graph needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetts.bundle import CONCATENATING, TrustRecord, read_manifest
from edgetts.runtimes.onnx.concatenating import ConcatenatingSession
from edgetts.runtimes.onnx.options import OnnxOptions
from edgetts.runtimes.onnx.session import OnnxSession


class AnyOnnxSession:
    """Whichever session the manifest asks for. `open` takes what those of the sessions take."""

    @staticmethod
    def open(
        bundle: Path,
        *,
        options: OnnxOptions | None = None,
        trust: TrustRecord | None = None,
        **changes: Any,
    ) -> OnnxSession | ConcatenatingSession:
        """Check a bundle and load it. Raises what the session's own `open` raises."""
        kind = ConcatenatingSession if read_manifest(bundle).graph == CONCATENATING else OnnxSession
        return kind.open(bundle, options=options, trust=trust, **changes)
