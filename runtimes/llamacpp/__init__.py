"""Run GGUF files on llama.cpp: token ids and sequences of one unified cache, never text.

Needs the extra `llamacpp`; the library is loaded when the first file is opened.
"""

from edgetts.runtimes.llamacpp.options import LlamaCppOptions
from edgetts.runtimes.llamacpp.session import LlamaCppSession

__all__ = ["LlamaCppOptions", "LlamaCppSession"]
