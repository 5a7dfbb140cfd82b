"""One real region for the lab tests: booted once a session, in a folder of its own, and gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client
from kubernetes.dynamic import DynamicClient

from include.clients.aws import Aws
from include.clients.kubernetes import Cluster
from include.clients.prometheus import Prometheus
from lab import world as worlds
from lab.cluster.workloads import api_client
from lab.machine.speed import LONGEST_STRETCH

REGION = "ap-northeast-1"
TEST_SECONDS = 300 * LONGEST_STRETCH  # 300 s are enough on the reference machine


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[worlds.LabWorld]:
    """A booted world of one region, eight days of history instead of 30: right-sizing asks for seven whole ones."""
    folder = tmp_path_factory.mktemp("lab")
    booted = worlds.up([REGION], worlds.Options(folder=folder, history_days=8), say=lambda _: None)
    try:
        yield booted
    finally:
        booted.down()


@pytest.fixture(scope="session")
def core(world: worlds.LabWorld) -> client.CoreV1Api:
    """The region's core API as the lab's admin."""
    return client.CoreV1Api(api_client(Path(world.state["regions"][REGION]["kubeconfig"])))


@pytest.fixture(scope="session")
def dynamic(world: worlds.LabWorld) -> DynamicClient:
    """Any resource of the region as the lab's admin."""
    return DynamicClient(api_client(Path(world.state["regions"][REGION]["kubeconfig"])))


@pytest.fixture(scope="session")
def aws(world: worlds.LabWorld) -> Callable[..., Any]:
    """Boto3 clients of the emulated cloud by service name, and region."""
    import boto3

    def make(service: str, region: str = REGION) -> Any:
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=world.state["aws_endpoint"],
            aws_access_key_id="lab",
            aws_secret_access_key="lab",
        )

    return make


@pytest.fixture(scope="session")
def region_clients(world: worlds.LabWorld, aws: Callable[..., Any]) -> SimpleNamespace:
    """The region's clients as a task has them: with the rights of the rollouts' user, and no more."""
    state = world.state
    return SimpleNamespace(
        kubernetes=Cluster(api_client(Path(state["regions"][REGION]["rollout_kubeconfig"]))),
        prometheus=Prometheus(state["prometheus"]),
        aws=Aws(lambda service, config: aws(service)),
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The lab's waits are stretched by the machine's speed; the limit of a whole test must not be shorter."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))
