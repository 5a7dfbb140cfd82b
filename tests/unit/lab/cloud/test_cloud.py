"""The fake AWS: its repairs by exact value, then one emulator process asked like AWS."""

from __future__ import annotations

import datetime as dt
import io
import json
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from include.clients.aws import Aws
from include.estate import load_estate
from include.levers.dns_health_checks import DnsHealthChecks
from include.rollout.lever import Target
from include.rollout.place import ESTATE_WIDE
from lab.cloud.calls import Answer, Call
from lab.cloud.emulator import AMI_OWNER, CallLog, images, read_call, wait_until_ready
from lab.cloud.fleets import DryPools, Override, fleet_overrides, fleet_with_only
from lab.cloud.moto_patches import Repairs
from lab.cloud.node_groups import scaling_problem
from lab.cloud.notices import send_through_rules, send_to_queue, set_dry_pools, warning
from lab.cloud.price_lists import listed, on_demand_list, spot_history
from lab.cloud.seed import CloudClients, SeededRegion, seed
from tests.unit.levers.dns_world import chosen

REPOSITORY = Path(__file__).parents[4]
REGION = "eu-central-1"
OTHER = "us-east-1"


class Book:
    """Two types; m7g.large has no spot price in zone b."""

    def on_demand(self, region: str, instance_type: str) -> Decimal | None:
        return {"c7g.2xlarge": Decimal("0.29"), "m7g.large": Decimal("0.0816")}.get(instance_type)

    def spot(self, region: str, instance_type: str, zone: str) -> Decimal | None:
        known = self.on_demand(region, instance_type)
        return None if known is None or (instance_type, zone[-1]) == ("m7g.large", "b") else known / 2

    def instance_types(self) -> list[str]:
        return ["c7g.2xlarge", "m7g.large"]


def fleet(kind: str, *pools: tuple[str, str, str | None]) -> Call:
    """A CreateFleet call for ``pools`` of type, zone and priority."""
    form = {
        "Action": "CreateFleet",
        "TargetCapacitySpecification.DefaultTargetCapacityType": kind,
        "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId": "lt-1",
    }
    for n, (instance_type, zone, priority) in enumerate(pools, 1):
        form[f"LaunchTemplateConfigs.1.Overrides.{n}.InstanceType"] = instance_type
        form[f"LaunchTemplateConfigs.1.Overrides.{n}.AvailabilityZone"] = zone
        if priority is not None:
            form[f"LaunchTemplateConfigs.1.Overrides.{n}.Priority"] = priority
    return Call(REGION, "ec2", "CreateFleet", urllib.parse.urlencode(form).encode(), form)


@pytest.fixture
def repairs(tmp_path: Path) -> Repairs:
    return Repairs(Book(), Book().instance_types(), DryPools(tmp_path / "ice.json"))


def picked(call: Call) -> str:
    form = dict(urllib.parse.parse_qsl(call.body.decode()))
    prefix = "LaunchTemplateConfigs.1.Overrides.1."
    return f"{form[prefix + 'InstanceType']} {form[prefix + 'AvailabilityZone']}"


def test_the_fleet_takes_the_pool_with_the_lowest_priority(repairs: Repairs) -> None:
    call = fleet("spot", ("m7g.16xlarge", "eu-central-1a", "2.6"), ("c7g.2xlarge", "eu-central-1b", "0.12"))
    assert repairs.before(call) is None
    assert picked(call) == "c7g.2xlarge eu-central-1b"
    assert call.note == "spot c7g.2xlarge eu-central-1b of 2 pools, 0 dry"
    assert call.refused_pools == ""


@pytest.mark.parametrize(("kind", "expected"), [("on-demand", "m7g.large eu-central-1b"), ("spot", "c7g.2xlarge a")])
def test_without_priorities_the_book_decides_and_an_unknown_price_is_dear(
    repairs: Repairs, kind: str, expected: str
) -> None:
    call = fleet(kind, ("c7g.2xlarge", "a", None), ("m7g.large", "eu-central-1b", None), ("x9.huge", "a", None))
    repairs.before(call)
    assert picked(call) == expected


def test_a_dry_pool_is_passed_over_and_named_in_the_answer(repairs: Repairs, tmp_path: Path) -> None:
    set_dry_pools(tmp_path, ["spot:m7g.*:*"])
    call = fleet("spot", ("m7g.large", "eu-central-1a", "0.04"), ("c7g.2xlarge", "eu-central-1b", "0.12"))
    assert repairs.before(call) is None
    assert picked(call) == "c7g.2xlarge eu-central-1b"
    assert call.refused_pools.count("<errorCode>InsufficientInstanceCapacity</errorCode>") == 1
    assert "<instanceType>m7g.large</instanceType><availabilityZone>eu-central-1a" in call.refused_pools


def test_a_fleet_without_any_pool_gets_errors_and_no_instance(repairs: Repairs, tmp_path: Path) -> None:
    set_dry_pools(tmp_path, ["spot:*:*"])
    answer = repairs.before(fleet("spot", ("m7g.large", "eu-central-1a", "0.04"), ("c7g.2xlarge", "x", "0.12")))
    assert answer is not None
    assert answer.status == 200
    assert answer.body.count(b"InsufficientInstanceCapacity") == 2
    assert b"<fleetInstanceSet/>" in answer.body
    assert repairs.before(fleet("on-demand", ("m7g.large", "eu-central-1a", "0.04"))) is None


def test_a_dry_run_is_left_to_moto(repairs: Repairs, tmp_path: Path) -> None:
    set_dry_pools(tmp_path, ["*:*:*"])
    call = fleet("spot", ("m7g.large", "eu-central-1a", "0.04"))
    call.form["DryRun"] = "true"
    before = call.body
    assert repairs.before(call) is None
    assert call.body == before


def test_dry_pools_follow_the_file_and_know_regions(tmp_path: Path) -> None:
    dry = DryPools(tmp_path / "ice.json")
    assert not dry.is_dry(REGION, "spot", "c7g.large", "eu-central-1a")
    set_dry_pools(tmp_path, [f"{REGION}/spot:c7g.large:*"])
    assert dry.is_dry(REGION, "spot", "c7g.large", "eu-central-1a")
    assert not dry.is_dry(OTHER, "spot", "c7g.large", "us-east-1a")
    assert not dry.is_dry(REGION, "on-demand", "c7g.large", "eu-central-1a")
    (tmp_path / "ice.json").write_text('["spot:*')  # half written: the last patterns stay in force
    assert dry.is_dry(REGION, "spot", "c7g.large", "eu-central-1a")
    (tmp_path / "ice.json").unlink()
    assert not dry.is_dry(REGION, "spot", "c7g.large", "eu-central-1a")


def test_a_pattern_with_a_missing_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pattern 'spot:\*' must read \[region/\]capacity-type:instance-type:zone"):
        set_dry_pools(tmp_path, ["spot:*"])
    assert not (tmp_path / "ice.json").exists()


def test_fleet_with_only_keeps_the_template_of_the_chosen_configuration() -> None:
    form = {
        "Action": "CreateFleet",
        "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId": "lt-amd",
        "LaunchTemplateConfigs.1.Overrides.1.InstanceType": "m7i.large",
        "LaunchTemplateConfigs.2.LaunchTemplateSpecification.LaunchTemplateId": "lt-arm",
        "LaunchTemplateConfigs.2.Overrides.10.InstanceType": "m7g.large",
        "LaunchTemplateConfigs.2.Overrides.9.InstanceType": "c7g.large",
    }
    pools = fleet_overrides(form)
    assert pools == [
        Override("1", {"InstanceType": "m7i.large"}),
        Override("2", {"InstanceType": "c7g.large"}),
        Override("2", {"InstanceType": "m7g.large"}),
    ]
    assert dict(urllib.parse.parse_qsl(fleet_with_only(form, pools[1]).decode())) == {
        "Action": "CreateFleet",
        "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId": "lt-arm",
        "LaunchTemplateConfigs.1.Overrides.1.InstanceType": "c7g.large",
    }


def test_on_demand_prices_leave_unknown_types_out_and_metal_is_never_empty() -> None:
    products = [json.loads(p) for p in on_demand_list(Book(), REGION, ["c7g.2xlarge", "x9.huge"], False)["PriceList"]]
    assert [p["product"]["attributes"]["instanceType"] for p in products] == ["c7g.2xlarge"]
    dimension = products[0]["terms"]["OnDemand"]["lab"]["priceDimensions"]["lab"]
    assert dimension == {"unit": "Hrs", "pricePerUnit": {"USD": "0.2900000000"}}
    metal = [json.loads(p) for p in on_demand_list(Book(), REGION, ["c7g.2xlarge"], True)["PriceList"]]
    assert [p["product"]["attributes"]["instanceType"] for p in metal] == ["lab.metal"]


def test_spot_history_has_a_price_for_every_type_and_zone() -> None:
    now = dt.datetime(2026, 11, 24, 16, 0, tzinfo=dt.UTC)
    text = spot_history(Book(), REGION, ["m7g.large"], ["eu-central-1a", "eu-central-1b"], now)
    assert text.count("<item>") == 2
    assert "<spotPrice>0.040800</spotPrice><timestamp>2026-11-24T16:00:00.000Z</timestamp>" in text
    assert "<spotPrice>99.000000</spotPrice>" in text


def test_listed_reads_names_and_filters() -> None:
    form = {"InstanceType.1": "a", "Filter.1.Name": "instance-type", "Filter.1.Value.1": "b", "Filter.2.Name": "x"}
    assert listed(form, "InstanceType", "instance-type") == ["a", "b"]
    assert listed(form, "AvailabilityZone", "availability-zone") == []


@pytest.mark.parametrize(
    ("low", "desired", "high", "problem"),
    [
        (2, 5, 8, None),
        (5, 2, 8, "Minimum capacity 5 can't be greater than desired size 2"),
        (2, 9, 8, "desired capacity 9 can't be greater than max size 8"),
        (9, 9, 8, "Minimum capacity 9 can't be greater than maximum size 8"),
    ],
)
def test_impossible_sizes_are_refused(low: int, desired: int, high: int, problem: str | None) -> None:
    assert scaling_problem({"minSize": low, "desiredSize": desired, "maxSize": high}) == problem


def test_the_region_comes_from_the_credential_scope() -> None:
    body = b"Action=DescribeInstances&Version=2016-11-15"
    scope = "AWS4-HMAC-SHA256 Credential=AKIDSECRET/20261124/ap-northeast-1/ec2/aws4_request, SignedHeaders=host"
    environ: dict[str, Any] = {
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8",
        "HTTP_AUTHORIZATION": scope,
    }
    call = read_call(environ)
    assert (call.region, call.service, call.action) == ("ap-northeast-1", "ec2", "DescribeInstances")
    assert "AKIDSECRET" not in repr(call)


def test_the_log_is_bounded_and_holds_no_request_body(tmp_path: Path) -> None:
    calls = CallLog(tmp_path / "calls.jsonl", limit=400)
    for _ in range(7):
        calls.write(Call(REGION, "sts", "AssumeRole", b"secret"), Answer(200, "text/xml", b"secret"), 0.002)
    calls.write(Call(REGION, "eks", "GET /x", b""), Answer(404, "text/plain", b"no such cluster"), 0.001)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["calls.1.jsonl", "calls.jsonl"]
    text = "".join((tmp_path / name).read_text() for name in files)
    assert "secret" not in text
    assert json.loads(text.splitlines()[-1])["answer"] == "no such cluster"
    assert sum((tmp_path / name).stat().st_size for name in files) < 1200


def test_two_images_an_architecture_and_stable_ids() -> None:
    made = images()
    assert [i["name"] for i in made if i["architecture"] == "arm64"] == [
        "amazon-eks-node-al2023-arm64-standard-1.36-v20261015",
        "amazon-eks-node-al2023-arm64-standard-1.36-v20261101",
    ]
    assert len({i["ami_id"] for i in made}) == 4
    assert {i["owner_id"] for i in made} == {AMI_OWNER}
    assert made == images()


def test_a_warning_is_the_event_that_karpenter_parses() -> None:
    event = warning(REGION, "i-1", drill_id="d-7", now=dt.datetime(2026, 11, 24, 1, 2, 3, tzinfo=dt.UTC))
    assert event.pop("id")
    assert event == {
        "version": "0",
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "source": "aws.ec2",
        "account": "123456789012",
        "time": "2026-11-24T01:02:03Z",
        "region": REGION,
        "resources": [f"arn:aws:ec2:{REGION}:123456789012:instance/i-1"],
        "detail": {"instance-id": "i-1", "instance-action": "terminate", "drill-id": "d-7"},
    }


# One emulator, asked over HTTP ----------------------------------------------------------------------------------------


@dataclass
class Cloud:
    """A seeded emulator."""

    endpoint: str
    folder: Path
    seeded: dict[str, SeededRegion]

    def clients(self, region: str = REGION) -> CloudClients:
        return CloudClients(self.endpoint, region)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lab.cloud.emulator", "--port", str(port), "--folder", str(folder)]
    endpoint = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        wait_until_ready(endpoint, 60)
        yield Cloud(endpoint, folder, seed(endpoint, load_estate(), [REGION, OTHER]))
    finally:
        process.terminate()
        process.wait()


def sizes(cloud: Cloud, region: str = REGION) -> tuple[dict[str, int], tuple[int, int, int], int]:
    """scalingConfig, the Auto Scaling group's sizes, and the running instances of the node group."""
    aws, estate = cloud.clients(region), load_estate().region(region)
    config = aws.eks.describe_nodegroup(clusterName=estate.cluster, nodegroupName=estate.node_group.name)
    name = config["nodegroup"]["resources"]["autoScalingGroups"][0]["name"]
    group = aws.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]
    three = (group["MinSize"], group["DesiredCapacity"], group["MaxSize"])
    return config["nodegroup"]["scalingConfig"], three, len(members(cloud, region))


def members(cloud: Cloud, region: str = REGION) -> list[dict[str, Any]]:
    filters = [
        {"Name": "instance-state-name", "Values": ["running"]},
        {"Name": "tag:eks:nodegroup-name", "Values": ["akidb-on-demand"]},
    ]
    answer = cloud.clients(region).ec2.describe_instances(Filters=filters)
    return [i for r in answer["Reservations"] for i in r["Instances"]]


def resize(cloud: Cloud, **scaling: int) -> None:
    region = load_estate().region(REGION)
    cloud.clients().eks.update_nodegroup_config(
        clusterName=region.cluster, nodegroupName=region.node_group.name, scalingConfig=scaling
    )


def agreed(low: int, desired: int) -> tuple[dict[str, int], tuple[int, int, int], int]:
    return {"minSize": low, "desiredSize": desired, "maxSize": 8}, (low, desired, 8), desired


def test_the_seed_starts_the_node_group_over_three_zones(cloud: Cloud) -> None:
    for region in (REGION, OTHER):
        assert sizes(cloud, region) == agreed(5, 5)
        zones = [i["Placement"]["AvailabilityZone"] for i in members(cloud, region)]
        assert sorted(zones.count(zone) for zone in set(zones)) == [1, 2, 2]
        kinds = {(i["InstanceType"], i["Architecture"], i.get("InstanceLifecycle")) for i in members(cloud, region)}
        assert kinds == {("c7g.2xlarge", "arm64", None)}


def test_node_group_group_and_instances_agree_after_every_change(cloud: Cloud) -> None:
    aws = cloud.clients()
    resize(cloud, minSize=2)
    drained = [i["InstanceId"] for i in members(cloud)[:3]]
    for n, instance in enumerate(drained, 1):
        aws.autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=instance, ShouldDecrementDesiredCapacity=True
        )
        assert sizes(cloud) == agreed(2, 5 - n)
    assert not {i["InstanceId"] for i in members(cloud)} & set(drained)
    resize(cloud, desiredSize=5, minSize=5)
    assert sizes(cloud) == agreed(5, 5)
    assert sizes(cloud, OTHER) == agreed(5, 5)


def test_a_group_member_that_dies_is_replaced(cloud: Cloud) -> None:
    victim = members(cloud)[0]["InstanceId"]
    cloud.clients().ec2.terminate_instances(InstanceIds=[victim])
    assert sizes(cloud) == agreed(5, 5)
    assert victim not in {i["InstanceId"] for i in members(cloud)}


def test_the_refusals_of_aws(cloud: Cloud) -> None:
    aws = cloud.clients()
    with pytest.raises(ClientError, match=r"InvalidParameterException.*Minimum capacity 5 can't be greater"):
        resize(cloud, desiredSize=2)
    terminate = aws.autoscaling.terminate_instance_in_auto_scaling_group
    with pytest.raises(ClientError, match=r"ValidationError.*desiredSize equals minSize \(5\)"):
        terminate(InstanceId=members(cloud)[0]["InstanceId"], ShouldDecrementDesiredCapacity=True)
    with pytest.raises(ClientError, match="No managed instance found for instance ID: i-0"):
        terminate(InstanceId="i-0", ShouldDecrementDesiredCapacity=True)
    assert sizes(cloud) == agreed(5, 5)


def launch(cloud: Cloud, kind: str, name: str) -> dict[str, Any]:
    aws, seeded = cloud.clients(), cloud.seeded[REGION]
    data = {
        "ImageId": seeded.images["arm64"],
        "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [seeded.security_group]}],
    }
    template = aws.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    overrides = [
        {"InstanceType": t, "SubnetId": subnet, "AvailabilityZone": zone, "Priority": price}
        for t, price in (("m7g.4xlarge", 0.5), ("c7g.xlarge", 0.1))
        for zone, subnet in seeded.subnets.items()
    ]
    answer: dict[str, Any] = aws.ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[
            {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"],
                    "Version": "$Latest",
                },
                "Overrides": overrides,
            }
        ],
        TargetCapacitySpecification={"DefaultTargetCapacityType": kind, "TotalTargetCapacity": 2},
    )
    return answer


def test_spot_instances_carry_what_karpenter_checks(cloud: Cloud) -> None:
    ids = [i for item in launch(cloud, "spot", "spot")["Instances"] for i in item["InstanceIds"]]
    answer = cloud.clients().ec2.describe_instances(InstanceIds=ids)
    made = [i for r in answer["Reservations"] for i in r["Instances"]]
    assert len(made) == 2
    for instance in made:
        assert instance["InstanceType"] == "c7g.xlarge"
        assert instance["InstanceLifecycle"] == "spot"
        assert instance["SpotInstanceRequestId"].startswith("sir-")
        assert [g["GroupId"] for g in instance["SecurityGroups"]] == [cloud.seeded[REGION].security_group]


def test_an_empty_spot_market_refuses_spot_only_and_can_be_lifted(cloud: Cloud) -> None:
    set_dry_pools(cloud.folder, [f"{REGION}/spot:*:*"])
    refused = launch(cloud, "spot", "dry")
    assert refused["Instances"] == []
    assert {e["ErrorCode"] for e in refused["Errors"]} == {"InsufficientInstanceCapacity"}
    assert len(refused["Errors"]) == 6
    assert launch(cloud, "on-demand", "wet")["Instances"][0]["InstanceType"] == "c7g.xlarge"
    set_dry_pools(cloud.folder, [])
    assert len(launch(cloud, "spot", "lifted")["Instances"]) == 2


def test_prices_of_a_region_are_asked_elsewhere_and_come_from_the_book(cloud: Cloud) -> None:
    from include.prices import load_aws_book

    book = load_aws_book()
    filters = [
        {"Type": "TERM_MATCH", "Field": "regionCode", "Value": REGION},
        {"Type": "TERM_MATCH", "Field": "instanceType", "Value": "c7g.2xlarge"},
    ]
    products = cloud.clients("ap-south-1").pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    price = json.loads(products[0])["terms"]["OnDemand"]["lab"]["priceDimensions"]["lab"]["pricePerUnit"]["USD"]
    assert Decimal(price) == book.on_demand(REGION, "c7g.2xlarge")
    history = cloud.clients().ec2.describe_spot_price_history(InstanceTypes=["c7g.2xlarge"])["SpotPriceHistory"]
    shown = {h["AvailabilityZone"]: Decimal(h["SpotPrice"]) for h in history}
    expected = {f"{REGION}{z}": book.spot(REGION, "c7g.2xlarge", f"{REGION}{z}") for z in "abc"}
    assert shown == {zone: round(price, 6) for zone, price in expected.items() if price is not None}


def test_only_types_of_the_book_are_offered(cloud: Cloud) -> None:
    from include.prices import load_aws_book

    book = set(load_aws_book().instance_types())
    aws = cloud.clients()
    types = {t["InstanceType"] for t in aws.ec2.describe_instance_types()["InstanceTypes"]}
    offers = aws.ec2.describe_instance_type_offerings(LocationType="availability-zone")["InstanceTypeOfferings"]
    assert "c7g.2xlarge" in types
    assert types <= book
    assert {o["InstanceType"] for o in offers} <= book


def test_an_event_reaches_the_queue_through_a_rule_and_directly(cloud: Cloud) -> None:
    aws, queue = cloud.clients(), load_estate().region(REGION).cluster
    url = aws.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]}
    aws.events.put_rule(Name=f"{queue}-spot", EventPattern=json.dumps(pattern))
    aws.events.put_targets(Rule=f"{queue}-spot", Targets=[{"Id": "queue", "Arn": arn}])
    send_through_rules(aws.events, warning(REGION, "i-rule", drill_id="d-1"))
    send_to_queue(aws.sqs, queue, warning(REGION, "i-direct"))
    found: dict[str, str | None] = {}
    while len(found) < 2:
        for message in aws.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10).get("Messages", []):
            body = json.loads(message["Body"])
            assert (body["source"], body["detail-type"]) == ("aws.ec2", "EC2 Spot Instance Interruption Warning")
            found[body["detail"]["instance-id"]] = body["detail"].get("drill-id")
    assert found == {"i-rule": "d-1", "i-direct": None}


def test_what_moto_lacks_is_answered(cloud: Cloud) -> None:
    aws, cluster = cloud.clients(), load_estate().region(REGION).cluster
    assert aws.ec2.describe_reserved_instances()["ReservedInstances"] == []
    assert aws.savingsplans.describe_savings_plans()["savingsPlans"] == []
    assert aws.eks.describe_update(name=cluster, updateId="u-1")["update"]["status"] == "Successful"
    name = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/arm64/standard/recommended/image_id"
    parameter = aws.ssm.get_parameter(Name=name)["Parameter"]
    assert (parameter["Name"], parameter["Value"]) == (name, cloud.seeded[REGION].images["arm64"])
    described = aws.eks.describe_cluster(name=cluster)["cluster"]
    assert described["version"] == "1.36"
    assert described["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "10.0.0.0/24"


def test_the_estates_health_checks_are_replaced_and_brought_back(cloud: Cloud) -> None:
    route53 = cloud.clients().route53
    lever, settings = DnsHealthChecks(), chosen()
    aws = Aws(lambda service, config: route53)
    target = Target(ESTATE_WIDE, load_estate(), "run", settings, SimpleNamespace(aws=aws))
    snapshot = lever.snapshot(target)
    assert len(snapshot["checks"]) == 4
    for stage in lever.plan(target).stages:
        lever.apply(target, stage)
    assert lever.plan(target).differences == ()
    assert {
        check["HealthCheckConfig"]["RequestInterval"] for check in route53.list_health_checks()["HealthChecks"]
    } == {30}
    assert lever.rollback(target, snapshot).changed_by_others == ()
    assert lever.verify_restored(target, snapshot) == []


def test_the_call_log_names_requests_without_credentials(cloud: Cloud) -> None:
    text = (cloud.folder / "calls.jsonl").read_text()
    assert '"action": "CreateNodegroup"' in text or '"action": "POST /clusters/akidb-eu-central-1/node-groups"' in text
    assert "Credential" not in text
    assert "Signature" not in text
