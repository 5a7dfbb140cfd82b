"""
## What it does
Takes the CloudFront distribution to the cheapest price class that keeps every latency limit of the estate. A month's
bytes and requests by viewer country come from the distribution's logs and CloudWatch's totals; each class is priced by
region and volume tier, and the P95 of each part of the world is what probes measure now plus what a longer way to the
nearest edge adds. Steps: checks -> plan, which says what each class and flat-rate plan would save, whom it would slow
and why one is refused (a dry run stops here, and is the default) -> approval -> lock -> snapshot -> the price class is
written, CloudFront deploys it, soak. Gates: P95 of each part of the world and weighted, the cache hit rate, and the
errors of every region. A gate that fails is undone. Flat-rate plans are offers: no DAG buys one.

## When it runs
When somebody triggers it, inside the estate's change window. Once for the estate: it asks for no region and no cluster;
it reads the probes and each region's Prometheus.

## How to re-run
Trigger it again. Where the present class is the best one, the plan says so and has no stage. `cdn_price_class` names a
class to try all the same: the gates judge it.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `cdn_price_class`. The class of before is
written and CloudFront deploys it: minutes. A class that somebody else has set meanwhile stays and is reported. A
distribution that doesn't become deployed within the time limit is named, and isn't called restored until it is.

## Races
One run at a time; the lock lies in the ledger's store, so that no cluster is needed. The distribution is written under
the ETag that was read, and only its price class is changed: whoever was faster keeps what they wrote, and it is read
again.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("cdn_price_class", __doc__, [Tag.ROLLOUT, Tag.EDGE]))
def cdn_price_class() -> None:
    """Wire the rollout of the price class."""
    rollout("cdn_price_class")


cdn_price_class()
