"""
## What it does
Measures on one Jetson device, the canary unless another is named, what each power mode draws without load and at full
load, and how many requests/s it serves. The agent switches through every mode that needs no reboot; the bench program
on the device takes it out of service, idles and saturates it. The figures are kept below the Variable `akidb_costs`
(`edge.power.measured`): without them no power mode is planned, since a mode's label caps clocks and measures nothing.
The device ends in the mode that it began in, and without the agent where it had none.

## When it runs
When somebody triggers it: before the first rollout of the power modes, after a change of model, board or carrier, and
twice a year. `dry_run`, the default, only shows the command.

## How to re-run
Trigger it. New figures take the place of the old ones; a failed measurement keeps the old ones.

## How to undo
Nothing remains on the device. Measure again to replace the figures; a rollout asks for an approval of those that it
uses.

## Races
One run at a time, under the lock of the devices. The agent's own loop waits meanwhile. It is the bench program's job to
keep live traffic away from the device.

## Owner
platform
"""

from __future__ import annotations

from airflow.sdk import dag

from include.levers.edge_power.settings import MeasureSettings
from include.levers.edge_power.tasks import measure
from include.wiring.conventions import Tag
from include.wiring.dag import operation


@dag(schedule=None, **operation(__doc__, MeasureSettings, [Tag.EDGE]))
def measure_devices() -> None:
    """Wire the measurement."""
    measure()


measure_devices()
