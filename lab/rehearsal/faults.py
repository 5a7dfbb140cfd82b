"""The faults of a rehearsal: a gate that fails after the canary, and a spot market that is dry during a step."""

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
            self._fail_a_gate(chains)
        elif self.kind == "ice":
            self._dry_out(chains)

    def _fail_a_gate(self, chains: Mapping[str, Sequence[Record]]) -> None:
        # The engine writes to a second region only after the canary has passed every gate.
        touched = [r for r in self.regions if r != self.canary and last(chains[r], Step.TOUCH)]
        if touched and not self.planted:
            self.planted = touched[0]
            self._plant({self.planted: GATE_FAULT})
            print(
                f"FAULT=gate: requests in {touched[0]} now take {GATE_FAULT['extra_latency_ms']} ms longer", flush=True
            )
        elif self.planted and not self.lifted and last(chains[self.planted], Step.UNDO):
            self.lifted = True
            self._plant({})
            print(f"FAULT=gate: lifted, {self.planted} is being rolled back", flush=True)

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
