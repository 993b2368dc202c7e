"""Run bundles on ONNX Runtime: any execution provider that has the fused operators."""

from edgetts.runtimes.onnx.options import OnnxOptions
from edgetts.runtimes.onnx.session import OnnxSession

__all__ = ["OnnxOptions", "OnnxSession"]
