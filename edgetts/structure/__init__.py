"""Languages that answers are kept to: JSON Schema, regular expressions, grammars (extra `structure`).

Knows texts and vocabularies; no models, no sampling, no sessions.
"""

from __future__ import annotations

from edgetts.structure.structures import Grammar, JsonObject, JsonSchema, Regex, Structure

__all__ = ["Grammar", "JsonObject", "JsonSchema", "Regex", "Structure"]
