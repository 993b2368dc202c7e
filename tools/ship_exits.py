"""Put the guessers of a trained bundle among those that come with edgetts.

    python tools/ship_exits.py BUNDLE [--exits 1]

Run after `edgetts exits train`, in the checkout. What is shipped is keyed by the file that the bundle was
converted from; commit the directory under profiles/exits/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgetts.bundle import read_manifest
from edgetts.export.exits.shipped import ship


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--exits", type=int, default=1, help="how many exits to ship, the deepest first")
    arguments = parser.parse_args()
    sha256 = read_manifest(arguments.bundle).source["sha256"]
    place = Path(__file__).parents[1] / "profiles" / "exits" / sha256
    size = ship(arguments.bundle, place, {"recurrent": 1, "exit": arguments.exits})
    print(f"{place.relative_to(Path.cwd())}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
