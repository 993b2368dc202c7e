"""Run bundles on ONNX Runtime: any execution provider that has the fused operators.

Graphs that optimum exported need none of those.
"""

from edgetts.runtimes.onnx.concatenating import ConcatenatingSession
from edgetts.runtimes.onnx.opening import AnyOnnxSession
from edgetts.runtimes.onnx.options import OnnxOptions
from edgetts.runtimes.onnx.session import OnnxSession

__all__ = ["AnyOnnxSession", "ConcatenatingSession", "OnnxOptions", "OnnxSession"]
