"""How each fault strikes and is lifted: by what the ledger of the run says, through the lab's own switches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from include.rollout.ledger import Record, Step, last
from lab.cloud import edge
from lab.cloud.notices import ALL_SPOT_DRY, set_dry_pools
from lab.rehearsal import storm
from lab.rehearsal.faults import Struck
from lab.rehearsal.load import plant_faults
from lab.rehearsal.served import Served

Chains = Mapping[str, Sequence[Record]]
SECOND_STEP = "step_2"
GATE_FAULT = {"extra_latency_ms": 80}  # far beyond the 30 ms that the P95 gate allows
IN_PLACE = ("in_place_canary", "in_place_rest")  # the stages that resize running pods
LEAK = {"leak": {"app": "akidb-grpc", "mib": 4000}}  # far beyond the container's limit of 4 GiB with what it uses
API_SECONDS, FORECAST_SECONDS = 20.0, 45.0  # so long the API server, and every predictor, is away
NO_SUCH_OPTION = "--gone-by-fault"  # a predictor that is started with it ends at once
COMMENT = "changed by somebody else"
OF_DISTRIBUTION = ("lambda_edge", "cdn_price_class")  # the levers that write to it
LEAST_SERVED = 0.9999


class Hands(Protocol):
    """What a strike does to the running lab."""

    def kill(self, process: str) -> None:
        """End a process at once, and tell the crash check that it is meant."""

    def restart(self, process: str) -> None:
        """Start it again, and have crashes reported again."""

    def predictor_arguments(self, arguments: Sequence[str] | None) -> None:
        """End every predictor's command line in them; None: as it was."""

    def spot_nodes(self, region: str) -> dict[str, str]:
        """The region's spot nodes: name to instance id."""

    def interrupt(self, region: str, instance: str) -> None:
        """Send AWS's notice for an instance."""

    def counted(self, region: str) -> Served:
        """Requests of a region so far."""

    def comment(self) -> str | None:
        """The distribution's comment; None without a distribution."""

    def set_comment(self, text: str) -> None:
        """Change it, as its owner."""


@dataclass
class Strike:
    """A fault that strikes once. ``react`` is called with the records so far by place, again and again."""

    name: str
    canary: str
    regions: Sequence[str]
    folder: Path
    emulator_folder: Path
    hands: Hands
    clock: Callable[[], float] = time.time
    struck: Struck = field(default_factory=Struck)
    lifted: bool = False

    def react(self, chains: Chains) -> None:
        """Strike or lift what is due."""
        if not self.struck.place:
            if place := self.ready(chains):
                self.struck = Struck(place, at=self.clock())
                self.say(self.strike())
        elif not self.lifted:
            self.go_on()
            if self.is_over(chains):
                self.lift_now()

    def end(self) -> None:
        """Lift what is still in force: the run has ended."""
        if self.struck.place and not self.lifted:
            self.lift_now()

    def lift_now(self) -> None:
        """Lift it, and keep what the fault's own checks say."""
        self.lifted = True
        self.say(self.lift())
        self.struck = replace(self.struck, problems=tuple(self.problems()))

    def say(self, text: str) -> None:
        """A line of the rehearsal's output."""
        print(f"FAULT={self.name}: {text}", flush=True)

    def others(self) -> list[str]:
        """The regions after the canary."""
        return [region for region in self.regions if region != self.canary]

    def seconds(self) -> float:
        """Since it struck."""
        return self.clock() - self.struck.at

    # What each fault is -----------------------------------------------------------------------------------------------

    def ready(self, chains: Chains) -> str:
        """The place to strike in, as soon as there is one."""
        raise NotImplementedError

    def strike(self) -> str:
        """Strike in ``struck.place``; what is said about it."""
        raise NotImplementedError

    def go_on(self) -> None:
        """What is done while it is in force."""

    def is_over(self, chains: Chains) -> bool:
        """Whether it is to be lifted: when the place's undo begins, unless said otherwise."""
        return last(chains[self.struck.place], Step.UNDO) is not None

    def lift(self) -> str:
        """Lift it; what is said about it."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """What the fault's own checks found wrong, once it is lifted."""
        return []


class InPlant(Strike):
    """The service breaks in the first region after the canary that is ready for it."""

    fault: Mapping[str, Any]
    said: str

    def strike(self) -> str:
        plant_faults(self.folder, {self.struck.place: self.fault})
        return f"in {self.struck.place} {self.said}"

    def lift(self) -> str:
        plant_faults(self.folder, {})
        return f"lifted, {self.struck.place} is being rolled back"


class GateFails(InPlant):
    """Requests get slow once the engine has written to a second region: the canary has passed every gate then."""

    fault, said = GATE_FAULT, f"requests now take {GATE_FAULT['extra_latency_ms']} ms longer"

    def ready(self, chains: Chains) -> str:
        return next((region for region in self.others() if last(chains[region], Step.TOUCH)), "")


class MemoryLeaks(InPlant):
    """A pod leaks once a second region has begun to resize running pods."""

    fault = LEAK
    said = f"a pod of {LEAK['leak']['app']} now holds {LEAK['leak']['mib']} MiB more"

    def ready(self, chains: Chains) -> str:
        return next((region for region in self.others() if resizes_in_place(chains[region])), "")


class NoSpot(Strike):
    """No spot capacity in any region between the gate of its first step and that of its second."""

    dry: tuple[str, ...] = ()

    def react(self, chains: Chains) -> None:
        dry = tuple(region for region in self.regions if in_or_before_second_step(chains[region]))
        if dry and not self.struck.place:
            self.struck = Struck(dry[0], at=self.clock())
        if dry != self.dry:
            self._dry_out(dry)

    def _dry_out(self, dry: tuple[str, ...]) -> None:
        self.dry = dry
        set_dry_pools(self.emulator_folder, [f"{region}/{pool}" for region in dry for pool in ALL_SPOT_DRY])
        self.say(f"no spot capacity in {', '.join(dry) or 'no region: it is back everywhere'}")

    def end(self) -> None:
        if self.dry:
            self._dry_out(())


class SpotStorm(Strike):
    """Notices for a part of the region's spot nodes, and no spot to be had, once its second step has been written."""

    due: tuple[tuple[float, str], ...] = ()
    instances: Mapping[str, str] = {}

    def ready(self, chains: Chains) -> str:
        return next((region for region in self.regions if step_stands(chains[region], SECOND_STEP)), "")

    def strike(self) -> str:
        region = self.struck.place
        found = storm.storm_in(region)
        self.instances = self.hands.spot_nodes(region)
        self.due = tuple(found.notices(list(self.instances)))
        set_dry_pools(self.emulator_folder, [f"{region}/{pool}" for pool in ALL_SPOT_DRY])
        nodes = f"{len(self.due)} of {len(self.instances)} spot nodes"
        self.go_on()
        return f"in {region} no spot capacity, and notices for {nodes} ({found.source})"

    def go_on(self) -> None:
        for at, node in list(self.due):
            if self.seconds() >= at:
                self.due = tuple(one for one in self.due if one[1] != node)
                self.hands.interrupt(self.struck.place, self.instances[node])

    def lift(self) -> str:
        set_dry_pools(self.emulator_folder, [])
        return f"over, {self.struck.place} is being rolled back"

    def problems(self) -> list[str]:
        return [] if self.instances else ["the region had no spot node to interrupt"]


class ForecastDown(Strike):
    """Every predictor is gone while the canary's autoscaling takes the forecast in."""

    before = Served()

    def ready(self, chains: Chains) -> str:
        return self.canary if begun(chains[self.canary], "predictive") else ""

    def strike(self) -> str:
        self.before = self.hands.counted(self.struck.place)
        self.hands.predictor_arguments([NO_SUCH_OPTION])
        return f"every predictor is gone for {FORECAST_SECONDS:.0f} s"

    def is_over(self, chains: Chains) -> bool:
        del chains
        return self.seconds() >= FORECAST_SECONDS

    def lift(self) -> str:
        self.came = self.hands.counted(self.struck.place) - self.before
        self.hands.predictor_arguments(None)
        return f"the predictors are back; {self.came.served:,.0f} of {self.came.asked:,.0f} requests served meanwhile"

    def problems(self) -> list[str]:
        ratio = self.came.ratio
        if ratio is None:
            return [f"nothing was asked of {self.struck.place} meanwhile"]
        return [] if ratio >= LEAST_SERVED else [f"only {ratio:.4%} of the requests were served meanwhile"]


class ApiOutage(Strike):
    """The API server of the first region that writes its second step is away for a while."""

    def ready(self, chains: Chains) -> str:
        return next((region for region in self.regions if begun(chains[region], SECOND_STEP)), "")

    @property
    def process(self) -> str:
        """The API server's name among the lab's processes."""
        return f"{self.struck.place}-kube-apiserver"

    def strike(self) -> str:
        self.hands.kill(self.process)
        return f"the API server of {self.struck.place} is gone for {API_SECONDS:.0f} s"

    def is_over(self, chains: Chains) -> bool:
        del chains
        return self.seconds() >= API_SECONDS

    def lift(self) -> str:
        self.hands.restart(self.process)
        return f"the API server of {self.struck.place} is started again"


class ForeignChange(Strike):
    """Somebody changes the distribution between a lever's read and its write."""

    own: str | None = None

    def ready(self, chains: Chains) -> str:
        for place, records in chains.items():
            if touched := [r for r in records if r.step == Step.TOUCH and r.lever in OF_DISTRIBUTION]:
                self.lever = touched[0].lever
                return place
        return ""

    def strike(self) -> str:
        self.own = self.hands.comment()
        self.struck = replace(self.struck, lever=self.lever)
        wanted = {"somebody_else": {"comment": COMMENT}}
        (self.emulator_folder / edge.FILE).write_text(json.dumps(wanted), encoding="utf-8")
        return f"somebody changes the distribution before the next write of {self.lever}"

    def is_over(self, chains: Chains) -> bool:
        del chains
        return False  # it strikes by itself with the next write, and what it left is looked at when the run is over

    def lift(self) -> str:
        (self.emulator_folder / edge.FILE).unlink(missing_ok=True)
        self.left = self.hands.comment()
        if self.own is not None and self.left == COMMENT:
            self.hands.set_comment(self.own)
        return f"the distribution's comment is {self.left!r}, and its owner sets it back"

    def problems(self) -> list[str]:
        return [] if self.left == COMMENT else [f"what somebody else had changed is gone: the comment is {self.left!r}"]


STRIKES: Mapping[str, type[Strike]] = {
    "gate": GateFails,
    "ice": NoSpot,
    "oom": MemoryLeaks,
    "spot-storm": SpotStorm,
    "forecast-down": ForecastDown,
    "api-outage": ApiOutage,
    "etag": ForeignChange,
}


def begun(records: Sequence[Record], slot: str) -> bool:
    """Whether a place has begun to write a slot."""
    return any(record.step == Step.TOUCH and record.figures.get("slot") == slot for record in records)


def step_stands(records: Sequence[Record], slot: str) -> bool:
    """Whether a place has written a slot, and its gates have not been judged."""
    steps = [record.step for record in records if record.figures.get("slot") == slot]
    return Step.APPLIED in steps and Step.GATE not in steps


def in_or_before_second_step(records: Sequence[Record]) -> bool:
    """Whether a region stands between the passed gate of its first step and the gate of its second."""
    gates = [str(record.figures.get("slot")) for record in records if record.step == Step.GATE]
    return bool(gates) and SECOND_STEP not in gates


def resizes_in_place(records: Sequence[Record]) -> bool:
    """Whether a region has begun a stage that resizes running pods."""
    return any(begun(records, slot) for slot in IN_PLACE)
