"""Make golden_logits.npz: what Hugging Face transformers computes for the tiny models of conftest.py.

Not run in CI: it needs torch and transformers 4.57 beside numpy and gguf. From the repository:

    PYTHONPATH=. python tests/data/golden_logits.py

The weights are drawn by tests/tiny.py and are not stored; `<name>.weights` is a checksum of them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from golden import GOLDEN, POSITIONS, TOKENS, golden_models, weights_sum  # noqa: E402
from tiny import write_tiny_hf  # noqa: E402


def main() -> None:
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    arrays = {}
    for name, arch, weights in golden_models():
        with tempfile.TemporaryDirectory() as directory:
            write_tiny_hf(Path(directory), arch=arch, weights=weights)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                directory, dtype=torch.float32, attn_implementation="eager"
            ).eval()
        with torch.no_grad():
            logits = model(torch.tensor([TOKENS])).logits[0].numpy()
        arrays[name] = logits[POSITIONS].astype(np.float32)
        arrays[f"{name}.weights"] = weights_sum(weights)
        sys.stderr.write(f"{name}: {type(model).__name__}, logits spread by {logits.std():.2f}\n")
    arrays["versions"] = np.array([f"transformers {transformers.__version__}", f"torch {torch.__version__}"])
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    main()
