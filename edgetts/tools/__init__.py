"""Functions that a model may call: shown to it, its calls constrained and read. Knows texts; no tokens, no models."""

from __future__ import annotations

from edgetts.chat import ToolCall
from edgetts.tools.asking import ToolRequest, lay_out, prepare, prepare_for
from edgetts.tools.grammar import call_structure, text_structure
from edgetts.tools.reading import ArgumentsSaid, CallBegun, CallReader, Piece, TextSaid, read_calls
from edgetts.tools.shortlist import MOST, shortlist
from edgetts.tools.styles import HERMES, LLAMA, MISTRAL, CallStyle, find_style
from edgetts.tools.tool import Tool, ToolChoice

__all__ = [
    "HERMES",
    "LLAMA",
    "MISTRAL",
    "MOST",
    "ArgumentsSaid",
    "CallBegun",
    "CallReader",
    "CallStyle",
    "Piece",
    "TextSaid",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolRequest",
    "call_structure",
    "find_style",
    "lay_out",
    "prepare",
    "prepare_for",
    "read_calls",
    "shortlist",
    "text_structure",
]
