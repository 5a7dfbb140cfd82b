"""Publish what rehearsals and surges measured: ``make bench`` runs it first.

A rehearsal leaves its figures in ``.lab/results``, which git ignores; this copies them to ``benchmarks/results``, which
the documents name. A set-up's own figures are measured anew by ``make bench``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.rehearsal.folders import lab_folder
from lab.world import results_folder

RESULTS = Path(__file__).parent / "results"
PATTERNS = ("rehearsal_*.json", "surge.json")


def publish(source: Path, target: Path) -> list[str]:
    """Copy every published kind of result from ``source`` to ``target``; returns their names, sorted."""
    found = sorted(path for pattern in PATTERNS for path in source.glob(pattern))
    target.mkdir(parents=True, exist_ok=True)
    for path in found:
        shutil.copyfile(path, target / path.name)
    return [path.name for path in found]


if __name__ == "__main__":
    names = publish(results_folder(lab_folder()), RESULTS)
    print("published: " + (", ".join(names) or "nothing, no rehearsal has left figures here"))
