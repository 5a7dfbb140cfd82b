"""The real OpenCost of a region: its files, its settings, and a price for each node.

A node's price is found by the annotation that ``instances.py`` gives it (``spot.c7g.large.us-east-1a``), in a CSV
that lists every type of the price book. OpenCost reads that file when it starts and again every 60 minutes only: a
file with a line a node would leave the nodes of a rollout at OpenCost's own default prices.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from include.estate import Estate
from include.prices import ZONE_FACTORS, AwsBook, load_aws_book
from lab.cluster.instances import PRICE_ANNOTATION
from lab.machine.programs import find, shared_folder

SERVED = ("opencost", "kubecost")  # names of addresses in state.json
USER = "system:serviceaccount:opencost:opencost"
HEADER = "EndTimestamp,InstanceID,Region,AssetClass,InstanceIDField,InstanceType,MarketPriceHourly,Version"


def program() -> Path:
    """OpenCost's program. Raises BuildError when it has not been built."""
    return find("costmodel")


def prices(book: AwsBook, region: str) -> Iterator[tuple[str, str]]:
    """Key and USD an hour of everything that a node of ``region`` can be; what has no known price is left out."""
    for name in book.instance_types():
        price = book.on_demand(region, name)
        if price is not None:
            yield f"on-demand.{name}", str(price)
        for letter in ZONE_FACTORS:
            spot = book.spot(region, name, f"{region}{letter}")
            if spot is not None:
                yield f"spot.{name}.{region}{letter}", str(spot)


def price_file(book: AwsBook, region: str) -> str:
    """The CSV. Region and InstanceType stay empty: with them OpenCost would take a price of the type for each node."""
    lines = (f",{key},,node,metadata.annotations.{PRICE_ANNOTATION},,{price}," for key, price in prices(book, region))
    return "\n".join([HEADER, *lines]) + "\n"


def write_files(folder: Path, region: str, estate: Estate) -> None:
    """Write the price file and OpenCost's own default configuration into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(shared_folder("opencost-config") / "default.json", folder / "default.json")
    (folder / "prices.csv").write_text(price_file(load_aws_book(estate), region), encoding="utf-8")


def environment(folder: Path, region: str, where: Mapping[str, Any], prometheus: str) -> dict[str, str]:
    """OpenCost's settings; ``where`` is the region's part of state.json."""
    return {
        "KUBECONFIG": str(where["opencost_kubeconfig"]),
        "KUBECONFIG_PATH": str(where["opencost_kubeconfig"]),
        "KUBERNETES_PORT": str(where["apiserver"]).replace("https://", "tcp://"),
        "KUBECOST_NAMESPACE": "opencost",
        "PROMETHEUS_SERVER_ENDPOINT": prometheus,
        "KUBECOST_JOB_NAME": "opencost",
        # One Prometheus serves all regions: each OpenCost must see the series of its own alone.
        "CLUSTER_ID": region,
        "PROM_CLUSTER_ID_LABEL": "region",
        "CURRENT_CLUSTER_ID_FILTER_ENABLED": "true",
        "CONFIG_PATH": str(folder),
        "CLOUD_PROVIDER_API_KEY": "lab",
        "USE_CSV_PROVIDER": "true",
        "CSV_PATH": str(folder / "prices.csv"),
        "API_PORT": str(where["opencost"]).rpartition(":")[2],
        "LOG_LEVEL": "warn",
        "CLOUD_COST_ENABLED": "false",
        "CACHE_WARMING_ENABLED": "false",
        "AWS_EC2_METADATA_DISABLED": "true",
        "GOMEMLIMIT": "200MiB",
    }
