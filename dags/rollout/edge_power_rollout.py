"""
## What it does
Has the Jetson devices follow their load with their power modes, by what was measured of each mode: the agent
(`jetson_tasks`) is put on each device over SSH, asked for the policy, and its systemd unit enabled and started. Steps:
checks -> plan with the measured table and the dollars at the wall socket (a dry run stops here, and is the default) ->
approval -> lock -> snapshot -> the canary device, soak -> the other devices, soak. Gates: no request above a mode's
measured capacity and every device as it was asked (both for the service's safety), no device pending, and watts as they
were measured. A gate that fails is undone. Without a measurement the plan is refused: `measure_devices` makes it.

`power_mode` sets one mode for good instead, rebooting a device once where the mode needs that.

## When it runs
When somebody triggers it, inside the estate's change window. Once for all devices: it asks for no region.

## How to re-run
Trigger it again. A device that is as wanted stays as it is. A device that was offline is pending: the run leaves it
alone and ends red, without undoing the others; trigger it again once the device is back, or clear the slot's
`apply_stage` where the device went away after the snapshot.

## How to undo
A failed gate undoes it by itself. Later: trigger `rollback` for the lever `edge_power`. The former mode is set and
verified, the former desired state, agent and unit's state come back: minutes, or a reboot where the former mode needs
one. The undo of an offline device is pending, and no verdict is green while one is. A mode that somebody has set by
hand stays and is reported.

## Races
One run at a time; the lock lies in the ledger's store. The device takes a desired state only under a newer generation,
so that a write which comes late changes nothing. The daily planning (`edge_power`) takes the same lock.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.wiring.conventions import Tag
from include.wiring.dag import rollout_arguments
from include.wiring.rollout import rollout


@dag(schedule=None, **rollout_arguments("edge_power", __doc__, [Tag.ROLLOUT, Tag.EDGE]))
def edge_power_rollout() -> None:
    """Wire the rollout of the power modes."""
    rollout("edge_power")


edge_power_rollout()
