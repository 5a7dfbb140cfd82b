"""
## What it does
Takes Route 53's health checks of one hosted zone to their cheapest settings that still serve: every 30 instead of 10
seconds, without latency graphs, and, if chosen, without string matching or HTTPS. These can't be changed after
creation, so each check is made anew, must be healthy, and takes the old one's place in every record set and calculated
check of the account. Steps: checks -> plan with the dollars and with what they cost in time until a failure is noticed
(a dry run stops here, and is the default) -> approval -> lock -> snapshot -> new checks, switch, soak -> old checks
deleted, soak. Gates, both for the service's safety: every check in use is healthy, and every record set's check exists.
A gate that fails is undone.

## When it runs
When somebody triggers it, inside the estate's change window. Once for the estate: it asks for no region, no cluster and
no Prometheus.

## How to re-run
Trigger it again. What has the wanted settings stays as it is; a run that was cut short takes up the checks that it has
made.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `dns_health_checks`. While the old checks
stand, the record sets are switched back to them; once they are deleted they are made anew from the snapshot, and the
record sets refer to the new ids: minutes, until Route 53 calls them healthy. A record set that somebody has pointed
elsewhere stays and is reported.

## Races
One run at a time; the lock lies in the ledger's store, so that no cluster is needed. A record set is written only as it
was read, a check only at the version that was read: whoever was faster keeps what they wrote, and it is read again.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("dns_health_checks", __doc__, [Tag.ROLLOUT, Tag.EDGE]))
def dns_health_checks() -> None:
    """Wire the rollout of the health checks."""
    rollout("dns_health_checks")


dns_health_checks()
