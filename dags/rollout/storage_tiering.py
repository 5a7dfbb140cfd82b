"""
## What it does
Moves the model versions that nobody loads to a cheaper storage class of S3, where that pays: one lifecycle rule for
each version that is older than 30 days, into STANDARD_IA, GLACIER_IR, GLACIER or DEEP_ARCHIVE, whichever costs least
over the time that the version is still kept (storage, minimum duration and size, overhead, transitions, reading back).
A move that loses money is refused with the figures. The champions and the last three versions of each region stay, and
a version that was champion once goes only where it can be read at once. Steps: checks -> plan with objects and dollars
(a dry run stops here, and is the default) -> approval -> lock -> snapshot -> rules, soak. Gates: every rule stands as
it was written; for the service's safety, every champion can be read and nothing that is to stay is under a rule. A gate
that fails is undone.

## When it runs
When somebody triggers it, inside the estate's change window; once a month is enough. Once for the estate: it asks for
no region, no cluster and no Prometheus.

## How to re-run
Trigger it again. New versions that have become old enough get a rule; a rule whose objects have all moved, or whose
version serves again, goes.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `storage_tiering`. Our rules become what they
were, others' stay. What S3 has moved by then stays where it is: the rollback names it and what copying it back costs,
and stays open until somebody has copied it or closes it with `accept`. S3 moves about once a day: an undo within hours
finds nothing moved.

## Races
One run at a time; the lock lies in the ledger's store. S3 replaces all rules of a bucket at once and knows no version:
the rules are read, ours are merged in, all are written and read again, until ours stand. Somebody else who writes the
rules in the same second can still lose theirs: change lifecycle rules at another time.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("storage_tiering", __doc__, [Tag.ROLLOUT, Tag.EDGE]))
def storage_tiering() -> None:
    """Wire the rollout of the lifecycle rules."""
    rollout("storage_tiering")


storage_tiering()
