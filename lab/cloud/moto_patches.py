"""What moto lacks or answers differently from AWS, filled in around it. LAB.md's table of gaps is the to-do list.

moto's modules are imported inside functions: moto reads ``MOTO_AMIS_PATH`` when it is imported, and the emulator
writes that file first. Everything runs under the emulator's lock, so that moto's state and a repair change together.

The region of a request is that of its credential scope; a price request names its region in a filter, because the
Price List service has endpoints in a few regions only.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from lab.cloud.calls import Answer, Call, ec2_answer, json_answer, query_refusal
from lab.cloud.fleets import DryPools, Override, capacity_errors, fleet_overrides, fleet_with_only
from lab.cloud.node_groups import ACCOUNT, NodeGroups, follow
from lab.cloud.price_lists import UNKNOWN_PRICE, Book, listed, on_demand_list, spot_history

PUBLIC_PARAMETERS, SEEDED_PARAMETERS = b"/aws/service/eks/", b"/lab/service/eks/"


class Repairs:
    """All repairs of one emulator. ``before`` may answer or rewrite a call, ``after`` mends what moto did."""

    def __init__(self, book: Book, types: Sequence[str], dry: DryPools) -> None:
        self._book, self._types, self._dry, self._groups = book, list(types), dry, NodeGroups()
        self._before: dict[tuple[str, str], Callable[[Call], Answer | None]] = {
            ("pricing", "GetProducts"): self._prices,
            ("ec2", "DescribeSpotPriceHistory"): self._spot_prices,
            ("ec2", "CreateFleet"): self._pick_pool,
            ("ec2", "DescribeReservedInstances"): lambda _: ec2_answer(
                "DescribeReservedInstances", "<reservedInstancesSet/>"
            ),
            ("savingsplans", "POST /DescribeSavingsPlans"): lambda _: json_answer({"savingsPlans": []}),
            ("autoscaling", "TerminateInstanceInAutoScalingGroup"): self._check_termination,
            ("ssm", "GetParameter"): self._rename_parameter,
            ("ssm", "GetParameters"): self._rename_parameter,
            ("ssm", "PutParameter"): self._rename_parameter,
        }

    def before(self, call: Call) -> Answer | None:
        """Answer ``call`` without moto, or rewrite it, or leave it alone."""
        if call.service == "eks":
            return self._groups.before(call) or self._describe_update(call)
        repair = self._before.get((call.service, call.action))
        return repair(call) if repair else None

    def after(self, call: Call, answer: Answer) -> Answer:
        """Mend moto's state and its answer to ``call``."""
        if call.service == "ssm":
            body = answer.body.replace(SEEDED_PARAMETERS, PUBLIC_PARAMETERS)
            return Answer(answer.status, answer.content_type, body)
        if answer.status >= 300:
            return answer
        if (call.service, call.action) == ("ec2", "CreateFleet"):
            return self._finish_fleet(call, answer)
        if call.service == "eks":
            return self._groups.after(call, answer)
        if call.service == "autoscaling":
            follow(call.region)
        return answer

    # Prices -------------------------------------------------------------------------------------------------------

    def _prices(self, call: Call) -> Answer:
        filters = {f["Field"]: f["Value"] for f in call.json().get("Filters", [])}
        region = filters.get("regionCode", call.region)
        types = [t for t in self._types if filters.get("instanceType", t) == t]
        metal = "bare metal" in filters.get("productFamily", "")
        return json_answer(on_demand_list(self._book, region, types, metal))

    def _spot_prices(self, call: Call) -> Answer:
        types = listed(call.form, "InstanceType", "instance-type") or self._types
        zones = listed(call.form, "AvailabilityZone", "availability-zone") or zones_of(call.region)
        now = dt.datetime.now(dt.UTC)
        return ec2_answer("DescribeSpotPriceHistory", spot_history(self._book, call.region, types, zones, now))

    # Fleets -------------------------------------------------------------------------------------------------------

    def _pick_pool(self, call: Call) -> Answer | None:
        """moto takes the first pool; take the cheapest that has capacity. Karpenter's Priority is its price."""
        if call.form.get("DryRun") == "true":
            return None
        kind = call.form.get("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand")
        pools = fleet_overrides(call.form)
        dry = [o for o in pools if self._dry.is_dry(call.region, kind, o.instance_type, o.zone)]
        usable = [o for o in pools if o not in dry]
        if not usable:
            call.note = f"no capacity in any of {len(dry)} {kind} pools"
            empty = f"<fleetId>fleet-{uuid.uuid4()}</fleetId>{capacity_errors(dry, kind)}<fleetInstanceSet/>"
            return ec2_answer("CreateFleet", empty)
        chosen = min(usable, key=lambda o: self._rank(call.region, kind, o))
        call.note = f"{kind} {chosen.instance_type} {chosen.zone} of {len(pools)} pools, {len(dry)} dry"
        call.refused_pools = capacity_errors(dry, kind)
        call.body = fleet_with_only(call.form, chosen)
        return None

    def _rank(self, region: str, kind: str, pool: Override) -> tuple[float, str, str]:
        price: Decimal | str | None = pool.fields.get("Priority")
        if price is None and kind == "spot":
            price = self._book.spot(region, pool.instance_type, pool.zone)
        elif price is None:
            price = self._book.on_demand(region, pool.instance_type)
        return float(UNKNOWN_PRICE if price is None else price), pool.instance_type, pool.zone

    def _finish_fleet(self, call: Call, answer: Answer) -> Answer:
        """moto drops the template's security groups (Karpenter would see drift) and the spot request's id."""
        from moto.ec2.models import ec2_backends

        match = re.search(rb"<fleetId>([^<]+)</fleetId>", answer.body)
        backend = ec2_backends[ACCOUNT][call.region]
        fleet = backend.fleets.get(match[1].decode()) if match else None
        if fleet is None:
            return answer
        spot = [(request.instance, request.id) for request in fleet.spot_requests]
        for instance, request_id in spot:
            instance.spot_instance_request_id = request_id  # type: ignore[attr-defined]
        instances = [instance for instance, _ in spot] + [item["instance"] for item in fleet.on_demand_instances]
        groups = _template_groups(backend, fleet.launch_template_configs[0]["LaunchTemplateSpecification"])
        for instance in instances:
            if groups:
                backend.modify_instance_security_groups(instance.id, groups)
        body = answer.body.replace(b"<fleetInstanceSet>", call.refused_pools.encode() + b"<fleetInstanceSet>", 1)
        return Answer(answer.status, answer.content_type, body)

    # Node groups --------------------------------------------------------------------------------------------------

    def _describe_update(self, call: Call) -> Answer | None:
        match = re.fullmatch(r"GET /clusters/[^/]+/updates/([^/]+)", call.action)
        if not match:
            return None
        update: dict[str, Any] = {
            "id": match[1],
            "status": "Successful",
            "type": "ConfigUpdate",
            "params": [],
            "errors": [],
        }
        return json_answer({"update": update})

    def _check_termination(self, call: Call) -> Answer | None:
        """AWS's two refusals: an instance that is no member, and a group that would fall below its minimum."""
        from moto.autoscaling.models import autoscaling_backends

        instance_id = call.form.get("InstanceId", "")
        groups = autoscaling_backends[ACCOUNT][call.region].autoscaling_groups.values()
        group = next((g for g in groups if any(s.instance.id == instance_id for s in g.instance_states)), None)
        if group is None:
            message = f"Instance Id not found - No managed instance found for instance ID: {instance_id}"
            return query_refusal("ValidationError", message)
        shrinks = call.form.get("ShouldDecrementDesiredCapacity") == "true"
        if shrinks and (group.desired_capacity or 0) - 1 < (group.min_size or 0):
            message = (
                f"Currently, desiredSize equals minSize ({group.min_size}). Terminating instance without replacement "
                "will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false "
                "or lower group's min size."
            )
            return query_refusal("ValidationError", message)
        return None

    # Parameters ---------------------------------------------------------------------------------------------------

    def _rename_parameter(self, call: Call) -> None:
        """moto refuses to store parameters below /aws; they are kept below /lab."""
        call.body = call.body.replace(PUBLIC_PARAMETERS, SEEDED_PARAMETERS)


def _template_groups(backend: Any, specification: Mapping[str, str]) -> list[str]:
    if "LaunchTemplateId" in specification:
        template = backend.get_launch_template(specification["LaunchTemplateId"])
    else:
        template = backend.get_launch_template_by_name(specification["LaunchTemplateName"])
    data = template.latest_version().data
    from_interfaces = [g for interface in data.get("NetworkInterfaces", []) for g in interface.get("Groups", [])]
    return list(data.get("SecurityGroupIds") or from_interfaces)


def zones_of(region: str) -> list[str]:
    """Names of the region's zones."""
    from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

    return [zone.name for zone in RegionsAndZonesBackend.zones[region]]


def offer_only(types: Sequence[str]) -> list[str]:
    """Let moto describe and offer ``types`` only; returns those that it knows.

    Karpenter has a built-in price for every type of AWS: a type without a price of ours must not be offered at all.
    The answers also become a tenth of their size.
    """
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, InstanceTypeBackend

    known = [t for t in InstanceTypeBackend.instance_types if t["InstanceType"] in set(types)]
    InstanceTypeBackend.instance_types = known
    names = {t["InstanceType"] for t in known}
    for by_region in INSTANCE_TYPE_OFFERINGS.values():
        for region, offers in by_region.items():
            by_region[region] = [offer for offer in offers if offer["InstanceType"] in names]
    return sorted(names)


def spread_over_zones() -> None:
    """Let Auto Scaling groups launch into the subnet that has the fewest of their instances; moto uses the first."""
    from moto.autoscaling.models import FakeAutoScalingGroup

    launch = FakeAutoScalingGroup.replace_autoscaling_group_instances

    def launch_balanced(self: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
        zones, joined = self.availability_zones, self.vpc_zone_identifier or ""
        subnets = [subnet for subnet in joined.split(",") if subnet]
        try:
            for _ in range(count_needed):
                if subnets:
                    used = [state.instance.subnet_id for state in self.active_instances()]
                    self.vpc_zone_identifier = min(subnets, key=used.count)
                launch(self, 1, dict(propagated_tags))
        finally:
            self.availability_zones, self.vpc_zone_identifier = zones, joined or None

    FakeAutoScalingGroup.replace_autoscaling_group_instances = launch_balanced  # type: ignore[method-assign]
