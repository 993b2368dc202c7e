"""Static bundles: graphs of fixed shapes, for compilers of NPUs. Never imported while a model runs."""

from edgetts.export.static.convert import convert_static
from edgetts.export.static.targets import TARGETS, Target, find_target

__all__ = ["TARGETS", "Target", "convert_static", "find_target"]
