"""The region's Karpenter: the real AWS provider, whose cloud is the emulator."""

from __future__ import annotations

import base64

from include.estate import Estate
from lab.cluster.control_plane import ControlPlane
from lab.machine.processes import Processes
from lab.machine.programs import find

BATCH_MAX_SECONDS = 5  # a group of pods waits so long for more of them
PORTS_NEEDED = 2  # metrics and health


def start(processes: Processes, estate: Estate, plane: ControlPlane, endpoint: str, metrics: int, health: int) -> None:
    """Start the region's Karpenter; ``endpoint`` is the emulator's address, the others are ports."""
    region = estate.region(plane.region)
    processes.start(
        f"{plane.region}-karpenter",
        [find("karpenter"), "--disable-leader-election"],
        env={
            "KUBECONFIG": str(plane.kubeconfig("admin")),
            "SYSTEM_NAMESPACE": "karpenter",
            "AWS_REGION": plane.region,
            # The emulator takes any key; the real ones of this machine must never be looked up.
            "AWS_ACCESS_KEY_ID": "lab",
            "AWS_SECRET_ACCESS_KEY": "lab",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_ENDPOINT_URL": endpoint,
            "CLUSTER_NAME": region.cluster,
            "CLUSTER_ENDPOINT": plane.server,
            "CLUSTER_CA_BUNDLE": base64.b64encode(plane.authority).decode(),
            "INTERRUPTION_QUEUE": region.queue,
            "EKS_CONTROL_PLANE": "true",
            "ISOLATED_VPC": "false",  # prices come from the emulator's price list, not from a built-in table
            "METRICS_PORT": str(metrics),
            "HEALTH_PROBE_PORT": str(health),
            "BATCH_IDLE_DURATION": "1s",
            # Twice as long it leaves a node alone that it expects pods on; its default is 10 s.
            "BATCH_MAX_DURATION": f"{BATCH_MAX_SECONDS}s",
            "FEATURE_GATES": "SpotToSpotConsolidation=true",
            "GOMEMLIMIT": "400MiB",
        },
    )
