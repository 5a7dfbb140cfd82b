"""Prometheus of the lab: one server for all regions, told apart by the label ``region``."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.machine.processes import Processes
from lab.machine.programs import find

SCRAPE_SECONDS = 2
ANSWER_SECONDS = 10  # of one look at whether a program is up; a busy one must not look dead
SLOW_SCRAPE_SECONDS = 5  # what changes once a minute, or has a series for each pod
HOST = "127.0.0.1"
PREDICTOR = "traffic-predictor"  # the job of the forecast's gauges
VPA = ("vpa-recommender", "vpa-updater", "vpa-admission-controller")  # jobs and programs of these names
RETENTION = "60d"  # the default of 15 days would delete the backfilled history at the first start


@dataclass(frozen=True)
class ScrapeTargets:
    """Where Prometheus scrapes: the plant's port, the devices' exporter's, and a port a region for each job.

    Targets of OpenCost, Kubecost and the predictor are down until somebody installs them.
    """

    plant: int
    by_region: Mapping[str, Mapping[str, int]]
    devices: int | None = None

    def of(self, job: str) -> list[dict[str, Any]]:
        """Static targets of one job, with their region."""
        ports = self.by_region.get(job, {})
        return [{"targets": [f"{HOST}:{port}"], "labels": {"region": region}} for region, port in ports.items()]


def configuration(targets: ScrapeTargets, rules: Path, scrape_seconds: int = SCRAPE_SECONDS) -> str:
    """The server's configuration as YAML; ``rules`` is the folder of its rule files."""
    slow = f"{max(scrape_seconds, SLOW_SCRAPE_SECONDS)}s"
    return yaml.safe_dump(
        {
            "global": {
                "scrape_interval": f"{scrape_seconds}s",
                "scrape_timeout": f"{scrape_seconds}s",
                "evaluation_interval": slow,
            },
            "rule_files": [str(rules / "*.yaml")],
            "storage": {"tsdb": {"retention": {"time": RETENTION}, "out_of_order_time_window": "2h"}},
            "scrape_configs": _jobs(targets, slow),
        },
        sort_keys=False,
    )


def _jobs(targets: ScrapeTargets, slow: str) -> list[dict[str, Any]]:
    plant = f"{HOST}:{targets.plant}"
    service = {
        "job_name": "akidb",
        # The instance of the backfilled history, so that it and the scrapes are one series.
        "static_configs": [{"targets": [plant], "labels": {"instance": "akidb"}}],
    }
    pods = {
        "job_name": "kubernetes-cadvisor",
        "metrics_path": "/cadvisor",
        "honor_labels": True,
        "scrape_interval": slow,
        "scrape_timeout": slow,
        "static_configs": [{"targets": [plant]}],
    }
    karpenter = {
        "job_name": "karpenter",
        "static_configs": targets.of("karpenter"),
        # 4.7 MB a scrape otherwise: a series per instance type and zone that nothing here reads.
        "metric_relabel_configs": [_drop("karpenter_cloudprovider_instance_type_.*|go_.*|.*_bucket|rest_client_.*")],
    }
    # The region of a forecast is its own label.
    predictor = {"job_name": PREDICTOR, "honor_labels": True, "static_configs": targets.of(PREDICTOR)}
    vpa = [_job(job, targets, slow) for job in VPA]
    cost = [_cost_job(job, targets, slow) for job in ("opencost", "kubecost")]
    return [service, pods, karpenter, *vpa, *cost, predictor, *_devices(targets)]


def _devices(targets: ScrapeTargets) -> list[dict[str, Any]]:
    if targets.devices is None:
        return []
    # The instance of the backfilled history, so that it and the scrapes are one series.
    place = {"targets": [f"{HOST}:{targets.devices}"], "labels": {"instance": "devices"}}
    return [{"job_name": "devices", "static_configs": [place]}]


def _drop(names: str) -> dict[str, Any]:
    """Leave out the series whose names match."""
    return {"source_labels": ["__name__"], "regex": names, "action": "drop"}


def _job(job: str, targets: ScrapeTargets, interval: str, unread: str = "go_.*|process_.*|.*_bucket") -> dict[str, Any]:
    return {
        "job_name": job,
        "scrape_interval": interval,
        "scrape_timeout": interval,
        "static_configs": targets.of(job),
        "metric_relabel_configs": [_drop(unread)],
    }


def _cost_job(job: str, targets: ScrapeTargets, interval: str) -> dict[str, Any]:
    # OpenCost's own labels namespace, pod, node and instance are what its queries ask for.
    return {**_job(job, targets, interval, "go_.*|promhttp_.*|kubecost_http_.*"), "honor_labels": True}


def start(processes: Processes, folder: Path, port: int, text: str) -> str:
    """Start Prometheus on ``folder/data`` and wait until it is ready; returns its base URL."""
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yaml"
    config.write_text(text)
    url = f"http://127.0.0.1:{port}"
    processes.start(
        "prometheus",
        [find("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        + [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", "--web.enable-lifecycle"],
    )
    processes.wait_until(lambda: answers(f"{url}/-/ready"), "Prometheus being ready", 60)
    return url


def answers(url: str) -> bool:
    """Whether a GET of ``url`` succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status < 400)
    except (urllib.error.URLError, OSError):
        return False
