"""What stands at the edge, read from the emulated AWS by the lab itself: the evidence of day 3 and of its undo.

It shares no code with the levers that it checks. Everything that AWS names anew when it is made again (health checks,
versions of a function) is told by what it is, so that an undo that brings it back under another name is complete.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from include.estate import Estate
from include.rollout.place import ESTATE_WIDE
from lab.machine.again import LONGEST_PAUSE_SECONDS, PROBLEMS, again
from lab.rehearsal.edge_dollars import GLOBAL_REGION, Client, distribution, named, rules_of
from lab.rehearsal.evidence import PATIENCE_SECONDS, EvidenceError

T = TypeVar("T")

PLACE = ESTATE_WIDE
MINIMUM = "TransitionDefaultMinimumObjectSize"
ANSWER_SECONDS = 10
# Of a version or an alias: what tells one from another, whatever its number is.
OF_FUNCTION = ("MemorySize", "Timeout", "Runtime", "CodeSha256")


@dataclass
class EdgeReader:
    """Reads the edge of the running lab; ``client`` makes a boto3 client of a service in a region."""

    estate: Estate
    client: Client
    plant: str
    patience: float = PATIENCE_SECONDS

    def specs(self) -> dict[str, Any]:
        """What a rollback must bring back. Raises EvidenceError."""
        return self._patiently(self._specs)

    def latency(self) -> dict[str, float | None]:
        """P95 in ms by probe, as the plant has it now; None where a probe is silent. Raises EvidenceError."""
        return self._patiently(self._latency)

    def _patiently(self, read: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return again(self.patience, LONGEST_PAUSE_SECONDS)(read)
        except (*PROBLEMS, BotoCoreError, ClientError) as error:
            raise EvidenceError(PLACE, self.patience, error) from error

    def _latency(self) -> dict[str, float | None]:
        with urllib.request.urlopen(f"{self.plant}/probes", timeout=ANSWER_SECONDS) as answer:
            return {probe["region"]: probe["p95_ms"] for probe in json.loads(answer.read())}

    def _specs(self) -> dict[str, Any]:
        return {
            "distribution": self._distribution(),
            "functions": self._functions(),
            "health_checks": self._health_checks(),
            "record_sets": self._record_sets(),
            "lifecycle": self._lifecycle(),
        }

    # CloudFront and Lambda -------------------------------------------------------------------------------------------

    def _distribution(self) -> dict[str, Any]:
        """The document of the distribution, with each function that it runs told by what it is."""
        found: dict[str, Any] = self._told(dict(distribution(self.client, self.estate) or {}))
        return found

    def _told(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._told(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {k: self._version(v) if k == "LambdaFunctionARN" else self._told(v) for k, v in value.items()}

    def _version(self, arn: str) -> dict[str, Any]:
        """The function's name, and what the version is."""
        name, number = named(arn)
        return {"function": name, **self._configuration(GLOBAL_REGION, name, number)}

    def _configuration(self, region: str, name: str, qualifier: str) -> dict[str, Any]:
        # ListVersions: a look at one version counts as that of somebody who waits for it (lab/cloud/pace.py).
        versions = self.client("lambda", region).list_versions_by_function(FunctionName=name)["Versions"]
        found: dict[str, Any] = next((version for version in versions if version["Version"] == qualifier), {})
        return {key: found.get(key) for key in OF_FUNCTION}

    def _functions(self) -> dict[str, Any]:
        names = self.estate.edge.functions
        found = {"edge": self._configuration(GLOBAL_REGION, names.edge, "$LATEST")}
        return found | {region: self._alias(region) for region in self.estate.regions}

    def _alias(self, region: str) -> dict[str, Any]:
        """What an alias leads to, with its provisioned concurrency."""
        aws, names = self.client("lambda", region), self.estate.edge.functions
        aliases = aws.list_aliases(FunctionName=names.regional)["Aliases"]
        alias: dict[str, Any] = next((one for one in aliases if one["Name"] == names.regional_alias), {})
        configs = aws.list_provisioned_concurrency_configs(FunctionName=names.regional)
        reserved = sum(c["RequestedProvisionedConcurrentExecutions"] for c in configs["ProvisionedConcurrencyConfigs"])
        leads_to = self._configuration(region, names.regional, alias.get("FunctionVersion", ""))
        return {"alias": leads_to, "routing": alias.get("RoutingConfig"), "provisioned": reserved}

    # Route 53 and S3 -------------------------------------------------------------------------------------------------

    def _checks(self) -> dict[str, dict[str, Any]]:
        route53 = self.client("route53", GLOBAL_REGION)
        pages = route53.get_paginator("list_health_checks").paginate()
        return {check["Id"]: check["HealthCheckConfig"] for page in pages for check in page["HealthChecks"]}

    def _health_checks(self) -> dict[str, str]:
        """The checks of the account by their settings: a second one like another is one too many."""
        found: dict[str, str] = {}
        for settings in sorted(json.dumps(config, sort_keys=True) for config in self._checks().values()):
            found[f"{settings} {sum(settings in key for key in found)}"] = "there"
        return found

    def _record_sets(self) -> dict[str, Any]:
        """The zone's record sets, each with the settings of the check that it uses."""
        checks = self._checks()
        return {name: {**record, "HealthCheckId": checks.get(check)} for name, record, check in self._records()}

    def _records(self) -> Iterator[tuple[str, dict[str, Any], str]]:
        route53, wanted = self.client("route53", GLOBAL_REGION), f"{self.estate.dns.hosted_zone}."
        for zone in route53.list_hosted_zones()["HostedZones"]:
            if zone["Name"] == wanted:
                pages = route53.get_paginator("list_resource_record_sets").paginate(HostedZoneId=zone["Id"])
                for record in (record for page in pages for record in page["ResourceRecordSets"]):
                    yield _name_of(record), record, record.get("HealthCheckId", "")

    def _lifecycle(self) -> dict[str, Any]:
        """The bucket's rules by their ids; none where it has none."""
        found = rules_of(self.client("s3", GLOBAL_REGION), self.estate.edge.models.bucket)
        return {**{rule["ID"]: rule for rule in found["Rules"]}, MINIMUM: found.get(MINIMUM)}


def _name_of(record: Mapping[str, Any]) -> str:
    parts: Sequence[str] = (record["Name"], record["Type"], record.get("SetIdentifier", ""))
    return " ".join(part for part in parts if part)


def reader(estate: Estate, state: Mapping[str, Any], make: Callable[..., Any], stretch: float = 1.0) -> EdgeReader:
    """The reader of the lab that ``state`` describes; ``make`` makes boto3 clients, ``stretch`` lengthens waits."""
    made: dict[tuple[str, str], Any] = {}

    def client(service: str, region: str) -> Any:
        if (service, region) not in made:
            made[service, region] = make(
                service,
                region_name=region,
                endpoint_url=state["aws_endpoint"],
                aws_access_key_id="lab",
                aws_secret_access_key="lab",
            )
        return made[service, region]

    return EdgeReader(estate, client, str(state["plant"]), PATIENCE_SECONDS * stretch)
