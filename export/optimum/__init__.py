"""Export a decoder that edgetts does not know by way of optimum's ONNX exporter (extra `optimum`).

Knows optimum's graphs and ONNX Runtime's quantiser; is never imported while a model runs.
"""

from __future__ import annotations

from edgetts.export.optimum.convert import convert_by_optimum

__all__ = ["convert_by_optimum"]
