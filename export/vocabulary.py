"""Write the tokenizer of a GGUF file by itself, for runtimes that read the weights from that file."""

from __future__ import annotations

from pathlib import Path

from edgetts.bundle import TOKENIZER
from edgetts.export.gguf_header import GgufHeader
from edgetts.export.mapped_file import map_file
from edgetts.export.tokenizer import special_tokens_from_gguf, tokenizer_from_gguf
from edgetts.tokenizer import TokenizerFacts


def write_vocabulary(source: Path, directory: Path) -> TokenizerFacts:
    """Write tokenizer.json into a directory; return what the file says besides. Raises ModelFileError."""
    with map_file(source) as data:
        metadata = GgufHeader(source.name, data).metadata
        tokenizer_from_gguf(metadata).save(str(directory / TOKENIZER), pretty=False)
        return special_tokens_from_gguf(metadata)
