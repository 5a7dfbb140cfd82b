"""Managed node groups of the emulated EKS: moto keeps their description, and here they get what AWS makes of it.

A group that is created gets a launch template and an Auto Scaling group, whose instances carry the group's name; one
that is deleted loses both. Like at AWS neither is done at once: a group is CREATING, later DELETING, for some seconds.
moto's modules are imported inside functions, see moto_patches.py.
"""

from __future__ import annotations

import re
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from lab.cloud.calls import Answer, Call, eks_refusal, json_answer

ACCOUNT = "123456789012"
IN_BETWEEN_SECONDS = 3.0
ARCHITECTURES = {"ARM": "arm64", "X86": "x86_64"}
_GROUP = re.compile(r"(POST|GET|DELETE) /clusters/([^/]+)/node-groups(?:/([^/]+))?(/update-config)?")


def scaling_problem(wanted: Mapping[str, int]) -> str | None:
    """Why EKS refuses this scalingConfig, or None."""
    low, desired, high = wanted["minSize"], wanted["desiredSize"], wanted["maxSize"]
    if low > high:
        return f"Minimum capacity {low} can't be greater than maximum size {high}"
    if desired < low:
        return f"Minimum capacity {low} can't be greater than desired size {desired}"
    if desired > high:
        return f"desired capacity {desired} can't be greater than max size {high}"
    return None


class NodeGroups:
    """The node groups of one emulator. ``clock`` gives seconds; ``between`` is how long a group comes or goes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, between: float = IN_BETWEEN_SECONDS) -> None:
        self._clock, self._between = clock, between
        self._until: dict[tuple[str, str, str], float] = {}

    def before(self, call: Call) -> Answer | None:
        """Refuse what EKS refuses, and let what comes or goes be there, or be gone, when its time has come."""
        found = _GROUP.fullmatch(urllib.parse.unquote(call.action))
        if found is None:
            return None
        verb, cluster, name, update = found.groups()
        if verb == "POST" and not update:
            problem = scaling_problem(call.json().get("scalingConfig", {"minSize": 2, "desiredSize": 2, "maxSize": 2}))
            return eks_refusal(problem) if problem else None
        group = node_group(call.region, cluster, name or "")
        if group is None:
            return None  # moto has the right refusal
        self._settle(call.region, cluster, name, group)
        if update:
            problem = scaling_problem({**group.scaling_config, **call.json().get("scalingConfig", {})})
            return eks_refusal(problem) if problem else None
        return self._delete(call.region, cluster, name, group) if verb == "DELETE" else None

    def after(self, call: Call, answer: Answer) -> Answer:
        """Give a new group its instances, and a group of another size the instances of that size."""
        found = _GROUP.fullmatch(urllib.parse.unquote(call.action))
        if found is None or found[1] != "POST":
            return answer
        if found[4]:
            _scale(call.region, node_group(call.region, found[2], found[3]))
            return answer
        name = str(call.json()["nodegroupName"])
        group = node_group(call.region, found[2], name)
        _launch(call.region, found[2], group)
        group.status = "CREATING"
        self._until[call.region, found[2], name] = self._clock() + self._between
        return Answer(answer.status, answer.content_type, answer.body.replace(b'"ACTIVE"', b'"CREATING"'))

    def _settle(self, region: str, cluster: str, name: str, group: Any) -> None:
        if group.status not in ("CREATING", "DELETING") or self._clock() < self._until[region, cluster, name]:
            return
        del self._until[region, cluster, name]
        if group.status == "CREATING":
            group.status = "ACTIVE"
            return
        _backend("eks", region).delete_nodegroup(cluster, name)

    def _delete(self, region: str, cluster: str, name: str, group: Any) -> Answer | None:
        if group.status in ("CREATING", "DELETING"):
            return eks_refusal(f"Nodegroup {name} is {group.status}", "ResourceInUseException")
        _end(region, group)
        group.status = "DELETING"
        self._until[region, cluster, name] = self._clock() + self._between
        return _described(group)


def _launch(region: str, cluster: str, group: Any) -> None:
    """A launch template and an Auto Scaling group for a new node group, as EKS makes them; instances run at once."""
    name, sizes = group.resources["autoScalingGroups"][0]["name"], group.scaling_config
    groups = _backend("eks", region).clusters[cluster].resources_vpc_config.get("securityGroupIds") or []
    data = {"ImageId": _image(region, group), "InstanceType": group.instance_types[0], "SecurityGroupIds": groups}
    template = _backend("ec2", region).create_launch_template(name, "", data, {})
    tags = {"eks:cluster-name": cluster, "eks:nodegroup-name": group.nodegroup_name}
    tags |= {f"kubernetes.io/cluster/{cluster}": "owned"}
    marks = {"ResourceId": name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
    _backend("autoscaling", region).create_auto_scaling_group(
        name=name,
        availability_zones=[],
        desired_capacity=sizes["desiredSize"],
        max_size=sizes["maxSize"],
        min_size=sizes["minSize"],
        launch_config_name="",
        launch_template={"LaunchTemplateId": template.id},
        vpc_zone_identifier=",".join(group.subnets),
        default_cooldown=None,
        health_check_period=None,
        health_check_type=None,
        load_balancers=[],
        target_group_arns=[],
        placement_group=None,
        termination_policies=[],
        tags=[{"Key": key, "Value": value, **marks} for key, value in tags.items()],
    )


def _image(region: str, group: Any) -> str:
    """The newest of Amazon's images of the group's architecture: their names end in the date."""
    wanted = next(arch for part, arch in ARCHITECTURES.items() if part in group.ami_type.upper())
    images = [i for i in _backend("ec2", region).describe_images() if i.architecture == wanted and "eks" in i.name]
    return str(max(images, key=lambda image: image.name).id)


def _end(region: str, group: Any) -> None:
    name = group.resources["autoScalingGroups"][0]["name"]
    if _scaling_group(region, group) is not None:
        _backend("autoscaling", region).delete_auto_scaling_group(name)
        _backend("ec2", region).delete_launch_template(name, None)


def _described(group: Any) -> Answer:
    described = {"nodegroupName": group.nodegroup_name, "clusterName": group.cluster_name, "status": group.status}
    return json_answer({"nodegroup": described})


def _backend(service: str, region: str) -> Any:
    from moto.backends import get_backend

    return get_backend(service)[ACCOUNT][region]  # type: ignore[call-overload]


def node_group(region: str, cluster: str, name: str) -> Any:
    """moto's node group, None when there is none."""
    found = _backend("eks", region).clusters.get(cluster)
    return found.nodegroups.get(name) if found else None


def _scaling_group(region: str, group: Any) -> Any:
    name = group.resources["autoScalingGroups"][0]["name"]
    return _backend("autoscaling", region).autoscaling_groups.get(name)


def _scale(region: str, group: Any) -> None:
    """Give the node group's Auto Scaling group the sizes of its scalingConfig; instances follow at once."""
    scaling = _scaling_group(region, group) if group else None
    if scaling is None:
        return
    wanted = group.scaling_config
    scaling.min_size, scaling.max_size = wanted["minSize"], wanted["maxSize"]
    scaling.set_desired_capacity(wanted["desiredSize"])


def follow(region: str) -> None:
    """Give every node group the sizes of its Auto Scaling group, as EKS does after a change there."""
    for cluster in _backend("eks", region).clusters.values():
        for group in cluster.nodegroups.values():
            scaling = _scaling_group(region, group)
            if scaling is not None:
                group.scaling_config = {
                    "minSize": scaling.min_size,
                    "maxSize": scaling.max_size,
                    "desiredSize": scaling.desired_capacity,
                }
