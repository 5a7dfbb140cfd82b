"""The estate as the snapshots in the ledger have it: what has left its file is undone by it too."""

from __future__ import annotations

import contextlib

from include.estate import Estate, EstateError, Region
from include.rollout.ledger import (
    Ledger,
    Record,
)
from include.rollout.place import Place, PlaceKind
from include.rollout.rollback.run import RollbackRun


def target_estate(run: RollbackRun, snapshot: Record) -> Estate:
    """The estate with which a snapshot was taken."""
    kept = snapshot.figures.get("estate")
    return Estate.from_slice(kept, run.estate) if kept else run.estate


def estate_on_record(ledger: Ledger) -> Estate | None:
    """An estate made of the slices in the last snapshot of every lever and place; None without any."""
    newest: Estate | None = None
    canary = ""  # a slice has none but its own region: the one that reaches the global services is in a whole
    regions: dict[str, Region] = {}
    for snapshot in sorted(ledger.latest_snapshots(), key=lambda record: record.time, reverse=True):
        kept = snapshot.figures.get("estate")
        if kept and snapshot.place not in regions:
            with contextlib.suppress(EstateError):  # of a release too old to be understood: the others may do
                piece = Estate.from_slice(kept, newest)
                newest = newest or piece
                regions = {**piece.regions, **regions} if _is_whole(snapshot) else {**regions, **piece.regions}
                canary = canary or (piece.canary_region if _is_whole(snapshot) else "")
    if newest is None:
        return None
    return newest.model_copy(update={"regions": regions, "canary_region": canary or newest.canary_region})


def _is_whole(snapshot: Record) -> bool:
    """Whether the snapshot holds all of the estate: what is known of its regions by themselves may be newer."""
    return Place.named(snapshot.place).kind is not PlaceKind.REGION
