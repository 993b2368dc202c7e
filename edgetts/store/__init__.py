"""Bring models onto this device and keep them: pull, check, convert once, list, remove.

Knows names, files, networks and locks; knows nothing of what is inside a model.
"""

from edgetts.store.bundles import Converter, resolve

__all__ = ["Converter", "resolve"]
