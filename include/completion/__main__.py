"""``python -m include.completion LEDGER [--out FOLDER] [--regions NAME ...]``: the completion report of a ledger."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from include.clients.storage import Folder
from include.completion.again import write
from include.estate import load_estate
from include.rollout.ledger import Ledger


def main() -> int:
    """Write the report's files and name them; 2 when there is no ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ledger", type=Path, help="the ledger's folder")
    parser.add_argument("--out", type=Path, default=Path("completion"), help="where the report is written")
    parser.add_argument("--regions", nargs="*", default=[], help="the estate's, unless named")
    options = parser.parse_args()
    if not options.ledger.is_dir():
        print(f"{options.ledger} is no folder: name the ledger's", file=sys.stderr)
        return 2
    for path in write(Ledger(Folder(options.ledger.resolve())), load_estate(), options.out, options.regions):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
