"""The faults of a rehearsal: a gate that fails after the canary, a spot market that is dry during a step, a leak of
memory while running pods are resized.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.rollout.ledger import Record, Step, last
from lab.cloud.notices import ALL_SPOT_DRY, set_dry_pools

SECOND_STEP = "step_2"
GATE_FAULT = {"extra_latency_ms": 80}  # far beyond the 30 ms that the P95 gate allows
IN_PLACE = ("in_place_canary", "in_place_rest")  # the stages that resize running pods
LEAK = {"leak": {"app": "akidb-grpc", "mib": 4000}}  # far beyond the container's limit of 4 GiB with what it uses
# The day that a fault belongs to, and the lever in whose run it is planted.
DAY_OF = {"gate": 1, "ice": 1, "oom": 4}
LEVER_OF = {"gate": "spot_capacity", "ice": "spot_capacity", "oom": "right_sizing"}
AFTER_THE_CANARY = {"gate": "fails a gate", "oom": "makes memory leak"}  # faults that need a second region


@dataclass
class Faults:
    """The fault of the rehearsal, planted and lifted as the run goes on."""

    kind: str
    canary: str
    regions: Sequence[str]
    folder: Path
    emulator_folder: Path
    planted: str = ""
    lifted: bool = False
    dry: tuple[str, ...] = ()

    def react(self, chains: Mapping[str, Sequence[Record]]) -> None:
        """Look at the run's records and plant or lift what is due."""
        if self.kind == "gate":
            # The engine writes to a second region only after the canary has passed every gate.
            said = f"requests now take {GATE_FAULT['extra_latency_ms']} ms longer"
            self._break(chains, [r for r in self._others() if last(chains[r], Step.TOUCH)], GATE_FAULT, said)
        elif self.kind == "oom":
            said = f"a pod of {LEAK['leak']['app']} now holds {LEAK['leak']['mib']} MiB more"
            self._break(chains, [r for r in self._others() if resizes_in_place(chains[r])], LEAK, said)
        elif self.kind == "ice":
            self._dry_out(chains)

    def _others(self) -> list[str]:
        return [region for region in self.regions if region != self.canary]

    def _break(
        self, chains: Mapping[str, Sequence[Record]], ready: Sequence[str], fault: Mapping[str, Any], said: str
    ) -> None:
        """Plant ``fault`` in the first region that is ``ready``; lift it when the region's undo begins."""
        if ready and not self.planted:
            self.planted = ready[0]
            self._plant({self.planted: fault})
            print(f"FAULT={self.kind}: in {self.planted} {said}", flush=True)
        elif self.planted and not self.lifted and last(chains[self.planted], Step.UNDO):
            self.lifted = True
            self._plant({})
            print(f"FAULT={self.kind}: lifted, {self.planted} is being rolled back", flush=True)

    def _plant(self, faults: Mapping[str, Any]) -> None:
        partial = self.folder / "plant_faults.partial"
        partial.write_text(json.dumps(faults), encoding="utf-8")
        partial.replace(self.folder / "plant_faults.json")

    def _dry_out(self, chains: Mapping[str, Sequence[Record]]) -> None:
        dry = tuple(region for region in self.regions if in_or_before_second_step(chains[region]))
        if dry != self.dry:
            self.dry = dry
            set_dry_pools(self.emulator_folder, [f"{region}/{pool}" for region in dry for pool in ALL_SPOT_DRY])
            print(f"FAULT=ice: no spot capacity in {', '.join(dry) or 'no region: it is back everywhere'}", flush=True)


def in_or_before_second_step(records: Sequence[Record]) -> bool:
    """Whether a region stands between the passed gate of its first step and the gate of its second."""
    gates = [str(record.figures.get("slot")) for record in records if record.step == Step.GATE]
    return bool(gates) and SECOND_STEP not in gates


def resizes_in_place(records: Sequence[Record]) -> bool:
    """Whether a region has begun a stage that resizes running pods."""
    return any(record.step == Step.TOUCH and record.figures.get("slot") in IN_PLACE for record in records)
