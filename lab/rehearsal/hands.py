"""What faults do to the running lab (``strikes.Hands``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.clients import kubernetes as k8s
from include.estate import Estate
from lab.cloud.notices import send_to_queue, warning
from lab.cluster.api_services import answers
from lab.machine.processes import OUTAGE_MARK, Processes
from lab.rehearsal import served
from lab.rehearsal.edge_dollars import GLOBAL_REGION, Client
from lab.rehearsal.evidence import EvidenceReader, node_of
from lab.rehearsal.served import Served
from lab.service import predictor

API_SERVER = "-kube-apiserver"  # behind the region, the name of its process
API_READY_SECONDS = 60


@dataclass
class LabHands:
    """Hands on the lab in ``folder``; ``aws`` makes a boto3 client of a service in a region."""

    estate: Estate
    folder: Path
    state: Mapping[str, Any]
    processes: Processes
    lab: Mapping[str, EvidenceReader]
    aws: Client
    queue: Callable[[str], str]

    def kill(self, process: str) -> None:
        """See :class:`lab.rehearsal.strikes.Hands`."""
        (self.folder / OUTAGE_MARK).touch()
        self.processes.kill(process)

    def restart(self, process: str) -> None:
        """See :class:`lab.rehearsal.strikes.Hands`; then what ended meanwhile in its region, as a kubelet would.

        A controller that can't renew its lease for 15 s gives up, and is started again where there is a kubelet.
        """
        self.processes.restart(process)
        region = process.removesuffix(API_SERVER)
        place = self.state["regions"][region]
        authority = Path(place["kubeconfig"]).parent / "pki" / "ca.crt"
        ready = f"{place['apiserver']}/readyz"
        self.processes.wait_until(lambda: answers(ready, authority), f"{process} being ready", API_READY_SECONDS)
        self.processes.restart_ended(f"{region}-")
        (self.folder / OUTAGE_MARK).unlink(missing_ok=True)

    def predictor_arguments(self, arguments: Sequence[str] | None) -> None:
        """See :class:`lab.rehearsal.strikes.Hands`."""
        if arguments is None:
            (self.folder / predictor.ARGUMENTS_FILE).unlink(missing_ok=True)
        else:
            predictor.write_arguments(self.folder, arguments)

    def spot_nodes(self, region: str) -> dict[str, str]:
        """See :class:`lab.rehearsal.strikes.Hands`."""
        nodes = [(node_of(raw), raw) for raw in self.lab[region].cluster.list(k8s.NODE)]
        spot = {node.name: instance_of(raw) for node, raw in nodes if node.capacity == "spot"}
        return {name: instance for name, instance in spot.items() if instance}

    def interrupt(self, region: str, instance: str) -> None:
        """See :class:`lab.rehearsal.strikes.Hands`."""
        send_to_queue(self.aws("sqs", region), self.queue(region), warning(region, instance))

    def counted(self, region: str) -> Served:
        """See :class:`lab.rehearsal.strikes.Hands`."""
        return served.now(str(self.state["plant"]), self.estate).by_region.get(region, Served())

    def comment(self) -> str | None:
        """See :class:`lab.rehearsal.strikes.Hands`."""
        found = self._distribution()
        return None if found is None else str(found[1]["Comment"])

    def set_comment(self, text: str) -> None:
        """See :class:`lab.rehearsal.strikes.Hands`."""
        found = self._distribution()
        if found is not None:
            name, document, token = found
            changed = {**document, "Comment": text}
            self._cloudfront.update_distribution(Id=name, DistributionConfig=changed, IfMatch=token)

    @property
    def _cloudfront(self) -> Any:
        return self.aws("cloudfront", GLOBAL_REGION)

    def _distribution(self) -> tuple[str, dict[str, Any], str] | None:
        """Id, document and ETag of the estate's distribution."""
        items = self._cloudfront.list_distributions()["DistributionList"].get("Items", [])
        ours = [item["Id"] for item in items if self.estate.edge.cdn.alias in item["Aliases"].get("Items", [])]
        if not ours:
            return None
        answer = self._cloudfront.get_distribution_config(Id=ours[0])
        return ours[0], answer["DistributionConfig"], answer["ETag"]


def instance_of(node: Mapping[str, Any]) -> str:
    """The EC2 instance behind a Node object; empty where it has none."""
    found = str(node.get("spec", {}).get("providerID", "")).rsplit("/", 1)[-1]
    return found if found.startswith("i-") else ""
