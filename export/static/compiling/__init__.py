"""Compile the graphs of static bundles ahead of time, each chip's apart. Never imported while a model runs."""

from edgetts.export.static.compiling.bundles import DEFAULT_SECONDS, compile_bundle, default_memory

__all__ = ["DEFAULT_SECONDS", "compile_bundle", "default_memory"]
