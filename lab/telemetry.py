"""Prometheus of the lab: one server for all regions, told apart by the label ``region``."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import yaml

from lab.processes import Processes
from lab.programs import find

SCRAPE_SECONDS = 2
RETENTION = "60d"  # the default of 15 days would delete the backfilled history at the first start


def configuration(plant_port: int, karpenter_ports: dict[str, int], scrape_seconds: int = SCRAPE_SECONDS) -> str:
    """The server's configuration as YAML."""
    karpenter = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"region": region}} for region, port in karpenter_ports.items()
    ]
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": f"{scrape_seconds}s", "scrape_timeout": f"{scrape_seconds}s"},
            "storage": {"tsdb": {"retention": {"time": RETENTION}, "out_of_order_time_window": "2h"}},
            "scrape_configs": [
                {
                    "job_name": "akidb",
                    # The instance of the backfilled history, so that it and the scrapes are one series.
                    "static_configs": [{"targets": [f"127.0.0.1:{plant_port}"], "labels": {"instance": "akidb"}}],
                },
                {
                    "job_name": "karpenter",
                    "static_configs": karpenter,
                    # 4.7 MB a scrape otherwise: a series per instance type and zone that nothing here reads.
                    "metric_relabel_configs": [
                        {
                            "source_labels": ["__name__"],
                            "regex": "karpenter_cloudprovider_instance_type_.*|go_.*|.*_bucket|rest_client_.*",
                            "action": "drop",
                        }
                    ],
                },
            ],
        },
        sort_keys=False,
    )


def start(processes: Processes, folder: Path, port: int, text: str) -> str:
    """Start Prometheus on ``folder/data`` and wait until it is ready; returns its base URL."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yaml"
    config.write_text(text)
    url = f"http://127.0.0.1:{port}"
    processes.start(
        "prometheus",
        [find("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        + [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
    )
    processes.wait_until(lambda: answers(f"{url}/-/ready"), "Prometheus being ready", 60)
    return url


def answers(url: str) -> bool:
    """Whether a GET of ``url`` succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status < 400)
    except (urllib.error.URLError, OSError):
        return False
