"""Run static bundles through execution providers of NPUs, or of any device that wants fixed shapes.

Knows token ids, graphs and providers: no text, no budgets, no clocks.
"""

from edgetts.runtimes.npu.options import NpuOptions
from edgetts.runtimes.npu.session import StaticSession

__all__ = ["NpuOptions", "StaticSession"]
