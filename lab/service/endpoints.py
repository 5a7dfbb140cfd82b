"""Which pods of a region can serve, as the API server tells it: what a load balancer would know, and who has died.

``Endpoints`` is pure bookkeeping of watch events; ``follow`` keeps it up to date from a real API server.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.watch.watch import iter_resp_lines

from include.quantities import quantity
from lab.service.pods import Object, Pod, pod_of

WATCH_SECONDS = 60
RETRY_SECONDS = 1.0
CONNECT_SECONDS = 3


@dataclass(frozen=True)
class Census:
    """Pods of one app: ``serving``; ``dead``: listed though their node is gone; ``killed`` since the last census.

    A pod counts as killed when it goes while it is serving, so that its requests in flight are lost: its node
    vanished, it failed, or it was deleted without a grace period. A pod that terminates gracefully finishes them.
    """

    serving: int = 0
    dead: int = 0
    killed: int = 0


class Endpoints:
    """The pods and nodes of one region; methods may be called from several threads.

    Of pods in other namespaces than ``namespace`` none serves AkiDB's requests, whatever its labels say; without one
    every pod may.
    """

    def __init__(self, namespace: str = "") -> None:
        self._lock = threading.Lock()
        self._namespace = namespace
        self._pods: dict[str, Pod] = {}
        self._nodes: dict[str, int] = {}  # allocatable bytes; 0 where the node says nothing
        self._spot_nodes: set[str] = set()
        self._gone_nodes: set[str] = set()
        self._serving: dict[str, str] = {}  # uid -> app at the last census
        self._torn: set[str] = set()  # uids whose pod was serving when it was deleted at once
        self._listed: set[str] = set()

    @property
    def complete(self) -> bool:
        """Whether pods and nodes have both been listed once."""
        with self._lock:
            return self._listed == {"pods", "nodes"}

    def replace_pods(self, items: Iterable[Object]) -> None:
        """Take over a complete list. Pods that vanished unseen count as gracefully ended."""
        with self._lock:
            self._pods = {item["metadata"]["uid"]: pod_of(item) for item in items}
            self._listed.add("pods")

    def replace_nodes(self, items: Iterable[Object]) -> None:
        """Take over a complete list of nodes."""
        items = list(items)
        spot = {item["metadata"]["name"] for item in items if _is_spot(item)}
        with self._lock:
            nodes = {item["metadata"]["name"]: _allocatable(item) for item in items}
            self._gone_nodes = (self._gone_nodes | self._nodes.keys()) - nodes.keys()
            self._nodes, self._spot_nodes = nodes, spot
            self._listed.add("nodes")

    def pod_event(self, kind: str, item: Object) -> None:
        """Take over an ADDED, MODIFIED or DELETED event of a pod."""
        uid = item["metadata"]["uid"]
        # A forced deletion shows as a change to a grace period of 0; the end of a graceful one does too, but by then
        # the pod has been terminating for a while.
        at_once = kind == "DELETED" or item["metadata"].get("deletionGracePeriodSeconds") == 0
        with self._lock:
            last = self._pods.pop(uid, None)
            if at_once and last is not None and last.listed:
                self._torn.add(uid)
            if kind != "DELETED":
                self._pods[uid] = pod_of(item)

    def node_event(self, kind: str, item: Object) -> None:
        """Take over an ADDED, MODIFIED or DELETED event of a node."""
        name = item["metadata"]["name"]
        with self._lock:
            if kind == "DELETED":
                self._nodes.pop(name, None)
                self._gone_nodes.add(name)
            else:
                self._nodes[name] = _allocatable(item)
                (self._spot_nodes.add if _is_spot(item) else self._spot_nodes.discard)(name)
                self._gone_nodes.discard(name)

    def take_census(self) -> dict[str, Census]:
        """Count the pods by app and forget who was killed. A node that was never seen counts as present."""
        with self._lock:
            listed = {uid: pod for uid, pod in self._pods.items() if pod.listed and self._ours(pod)}
            serving = {uid: pod.app for uid, pod in listed.items() if pod.node not in self._gone_nodes}
            dead = Counter(pod.app for uid, pod in listed.items() if uid not in serving)
            killed = Counter(app for uid, app in self._serving.items() if uid not in serving and self._died(uid))
            self._serving, self._torn = serving, set()
        counts = Counter(serving.values())
        return {app: Census(counts[app], dead[app], killed[app]) for app in {*counts, *dead, *killed}}

    def running_pods(self) -> list[Pod]:
        """The pods of all namespaces whose containers run, on nodes that are there."""
        with self._lock:
            return [pod for pod in self._pods.values() if pod.running and pod.node not in self._gone_nodes]

    def serving(self) -> frozenset[str]:
        """The uids of the pods that the last census counted as serving."""
        with self._lock:
            return frozenset(self._serving)

    def spot_share(self, app: str) -> float:
        """Share (0..1) of an app's serving pods that run on spot nodes; 0 without any."""
        with self._lock:
            nodes = [self._pods[uid].node for uid, name in self._serving.items() if name == app and uid in self._pods]
            return sum(node in self._spot_nodes for node in nodes) / len(nodes) if nodes else 0.0

    def memory_of_nodes(self) -> dict[str, int]:
        """Bytes that pods may use on each node that says so."""
        with self._lock:
            return {name: room for name, room in self._nodes.items() if room}

    def lose(self, uid: str) -> None:
        """The pod's container was killed: its requests are lost, and it serves none until the API server says ready."""
        with self._lock:
            pod = self._pods.get(uid)
            if pod is None:
                return
            if uid in self._serving:
                self._torn.add(uid)
            self._pods[uid] = replace(pod, ready=False)

    def _ours(self, pod: Pod) -> bool:
        return not self._namespace or pod.namespace == self._namespace

    def _died(self, uid: str) -> bool:
        if uid in self._torn:
            return True
        pod = self._pods.get(uid)
        return pod is not None and not pod.terminating and (pod.ended or pod.node in self._gone_nodes)


def _is_spot(node: Object) -> bool:
    return (node["metadata"].get("labels") or {}).get("karpenter.sh/capacity-type") == "spot"


def _allocatable(node: Object) -> int:
    return int(quantity((node.get("status", {}).get("allocatable") or {}).get("memory", 0)))


def watch_region(kubeconfig: Path, endpoints: Endpoints, name: str) -> None:
    """Start two daemon threads that keep ``endpoints`` up to date from the region's API server."""
    core = client.CoreV1Api(config.new_client_from_config(config_file=str(kubeconfig)))
    follow(core.list_pod_for_all_namespaces, endpoints.replace_pods, endpoints.pod_event, f"{name} pods")
    follow(core.list_node, endpoints.replace_nodes, endpoints.node_event, f"{name} nodes")


def follow(
    call: Callable[..., Any],
    replace: Callable[[Iterable[Object]], None],
    event: Callable[[str, Object], None],
    name: str,
    stop: threading.Event | None = None,
) -> threading.Thread:
    """List, then watch, until ``stop`` is set, in a daemon thread; while the API server is away, what was last known
    stays.
    """
    ended = stop or threading.Event()

    def run() -> None:
        away = False
        while not ended.is_set():
            try:
                version = _list(call, replace)
                if away:
                    print(f"{name}: the API server is back", flush=True)
                away = False
                while version and not ended.is_set():
                    version = _watch(call, version, event)
            except (client.ApiException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                if not away and not ended.is_set():
                    print(f"{name}: lost the API server ({type(error).__name__}), keeping the last state", flush=True)
                away = True
                ended.wait(RETRY_SECONDS)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def _list(call: Callable[..., Any], replace: Callable[[Iterable[Object]], None]) -> str:
    response = call(_preload_content=False, _request_timeout=(CONNECT_SECONDS, 10))
    body = json.loads(response.data)
    replace(body["items"])
    return str(body["metadata"]["resourceVersion"])


def _watch(call: Callable[..., Any], version: str, event: Callable[[str, Object], None]) -> str:
    """Watch until the server ends it; the version to go on from, or "" when a new list is needed."""
    response = call(
        watch=True,
        resource_version=version,
        allow_watch_bookmarks=True,
        timeout_seconds=WATCH_SECONDS,
        _preload_content=False,
        _request_timeout=(CONNECT_SECONDS, WATCH_SECONDS + 5),
    )
    try:
        for line in iter_resp_lines(response):
            if not line:
                continue
            message = json.loads(line)
            if message["type"] == "ERROR":  # the version is too old: everything has to be listed again
                return ""
            version = message["object"]["metadata"]["resourceVersion"]
            if message["type"] != "BOOKMARK":
                event(message["type"], message["object"])
    finally:
        response.release_conn()
    return version
