"""Export turns a checkpoint into a bundle, and is never imported while a model runs."""

from __future__ import annotations

from edgetts.export.convert import convert

__all__ = ["convert"]
