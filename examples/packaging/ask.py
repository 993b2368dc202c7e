"""Answer one question: the smallest app, to be packed by PyInstaller as ask.spec says.

python examples/packaging/ask.py "Name a river in France."

A model that lies beside this file as model.edge is taken before the default one, which is fetched on first use.
"""

from __future__ import annotations

import sys
from pathlib import Path

import edgetts


def main() -> None:
    question = " ".join(sys.argv[1:]) or "Name a river in France."
    aboard = Path(__file__).resolve().parent / "model.edge"
    try:
        with edgetts.load(aboard if aboard.exists() else None) as engine:
            print(engine.answer(question, sampling=edgetts.SamplingParams(max_tokens=60)).text)
    except edgetts.EdgettsError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
