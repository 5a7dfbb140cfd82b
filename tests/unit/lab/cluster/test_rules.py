"""Rule files in Prometheus' folder: named by region, checked before, gone with their ConfigMap."""

from __future__ import annotations

from pathlib import Path

from lab.cluster.rules import RuleMirror, file_name


class Prometheus:
    def __init__(self, answers: list[OSError | None] | None = None) -> None:
        self.answers = answers or []
        self.reloads = 0

    def reload(self, url: str) -> None:
        assert url == "http://prometheus"
        self.reloads += 1
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


def mirror(folder: Path, prometheus: Prometheus) -> RuleMirror:
    return RuleMirror(
        folder,
        "http://prometheus",
        check=lambda path: "bad expression" if "bad" in path.read_text() else "",
        reload=prometheus.reload,
    )


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_files_follow_the_config_maps_of_each_region(tmp_path: Path) -> None:
    prometheus = Prometheus()
    one = mirror(tmp_path, prometheus)
    assert one.settle("us-east-1", {"cost-a.rules.yaml": "first"}) == ["rules cost-a.rules.yaml loaded"]
    assert one.settle("eu-central-1", {"cost-a.rules.yaml": "other"}) == ["rules cost-a.rules.yaml loaded"]
    assert one.settle("us-east-1", {"cost-a.rules.yaml": "first"}) == []
    assert files(tmp_path) == {"eu-central-1@cost-a.rules.yaml": "other", "us-east-1@cost-a.rules.yaml": "first"}
    assert one.settle("us-east-1", {"cost-a.rules.yaml": "second"}) == ["rules cost-a.rules.yaml loaded"]
    assert one.settle("us-east-1", {}) == ["rules cost-a.rules.yaml removed"]
    assert files(tmp_path) == {"eu-central-1@cost-a.rules.yaml": "other"}
    assert prometheus.reloads == 4


def test_a_refused_file_leaves_the_one_before(tmp_path: Path) -> None:
    prometheus = Prometheus()
    one = mirror(tmp_path, prometheus)
    one.settle("us-east-1", {"a.yaml": "good"})
    assert one.settle("us-east-1", {"a.yaml": "bad"}) == ["rules a.yaml refused: bad expression"]
    assert files(tmp_path) == {"us-east-1@a.yaml": "good"}
    assert one.settle("us-east-1", {"a.yaml": "bad"}) == []  # said once
    assert prometheus.reloads == 1


def test_a_reload_that_fails_is_tried_again(tmp_path: Path) -> None:
    prometheus = Prometheus([OSError("refused")])
    one = mirror(tmp_path, prometheus)
    assert one.settle("us-east-1", {"a.yaml": "good"})[1] == "Prometheus did not reload (refused); it is tried again"
    assert one.settle("us-east-1", {"a.yaml": "good"}) == []
    assert prometheus.reloads == 2
    one.settle("us-east-1", {"a.yaml": "good"})
    assert prometheus.reloads == 2


def test_no_name_leaves_the_folder() -> None:
    assert file_name("us-east-1", "../x/cost rules.yaml") == "us-east-1@.._x_cost_rules.yaml"
