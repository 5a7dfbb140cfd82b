"""Prometheus' configuration, by exact parts."""

from __future__ import annotations

from pathlib import Path

import yaml

from lab.cluster.telemetry import ScrapeTargets, configuration

PORTS = {
    "karpenter": {"us-east-1": 20002},
    "opencost": {"us-east-1": 20003},
    "kubecost": {},
    "traffic-predictor": {"us-east-1": 20004},
}
TARGETS = ScrapeTargets(20001, PORTS)


def test_every_job_has_its_targets_and_cost_jobs_keep_the_labels_of_their_series() -> None:
    config = yaml.safe_load(configuration(TARGETS, Path("/lab/rules")))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert list(jobs) == [
        *("akidb", "kubernetes-cadvisor", "karpenter", "vpa-recommender", "vpa-updater", "vpa-admission-controller"),
        *("opencost", "kubecost", "traffic-predictor"),
    ]
    assert jobs["akidb"]["static_configs"] == [{"targets": ["127.0.0.1:20001"], "labels": {"instance": "akidb"}}]
    assert jobs["kubernetes-cadvisor"]["metrics_path"] == "/cadvisor"
    assert jobs["opencost"]["static_configs"] == [{"targets": ["127.0.0.1:20003"], "labels": {"region": "us-east-1"}}]
    assert [name for name, job in jobs.items() if job.get("honor_labels")] == [
        "kubernetes-cadvisor",
        "opencost",
        "kubecost",
        "traffic-predictor",
    ]
    assert jobs["traffic-predictor"] == {
        "job_name": "traffic-predictor",
        "honor_labels": True,
        "static_configs": [{"targets": ["127.0.0.1:20004"], "labels": {"region": "us-east-1"}}],
    }
    assert config["rule_files"] == ["/lab/rules/*.yaml"]


def test_what_changes_slowly_is_not_scraped_faster_than_every_five_seconds() -> None:
    for asked, slow in ((2, "5s"), (15, "15s")):
        config = yaml.safe_load(configuration(TARGETS, Path("/lab/rules"), asked))
        assert config["global"]["scrape_interval"] == f"{asked}s"
        assert config["global"]["evaluation_interval"] == slow
        assert config["scrape_configs"][3]["scrape_interval"] == slow
        assert config["scrape_configs"][3]["scrape_timeout"] == slow
