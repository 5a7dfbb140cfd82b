"""Set a champion by hand.

``python -m include.forecast.set_champion --models PLACE --region REGION --version VERSION --reason TEXT``

The version must be whole; the change is compare-and-set and on record like every other. Credentials are those of the
environment (boto3's own search), not Airflow's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from include.forecast.pod_storage import pod_storage
from include.forecast.registry import Action, ChampionDecision, Registry, RegistryError


def main(arguments: Sequence[str] | None = None) -> int:
    """Move the pointer; 1 when the version is damaged or somebody else was faster."""
    parser = argparse.ArgumentParser(prog="include.forecast.set_champion", description="Set a champion by hand.")
    for name in ("models", "region", "version", "reason"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args(arguments)
    registry = Registry(pod_storage(options.models), options.region)
    try:
        with tempfile.TemporaryDirectory(prefix="akidb-") as folder:
            manifest = registry.fetch(options.version, Path(folder))
        pointer = registry.pointer()
        reason = f"by hand: {options.reason}"
        decision = registry.move(
            pointer, ChampionDecision(Action.PROMOTED, options.version, pointer.version, reason, manifest.created)
        )
    except RegistryError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.region}: {decision.action}: {options.version}, before {pointer.version or 'none'}")
    return 0 if decision.action == Action.PROMOTED else 1


if __name__ == "__main__":
    raise SystemExit(main())
