"""Route 53 as levers see it: record sets and calculated checks as documents, health checks as what is replaced.

A record set has no version token: it is deleted as it was read and created as it is to be, in one batch, which Route 53
refuses as a whole when somebody was faster. A health check has HealthCheckVersion.
"""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from include.clients.aws import AwsRefusedError
from include.levers import terraform
from include.levers.documents import Store, edit
from include.levers.fields import Object, Path
from include.levers.world import World
from include.rollout.export import Change, Export, Reference, joined, label
from include.rollout.lever import Check, Json, Refused

MARK = "akidb"  # begins the caller reference of what levers make: akidb:<id that it replaces>:<digest>
CHAIN = "akidb.io/replaces"  # tag: that id, and the ids that this one itself replaced, newest first
LONGEST_CHAIN = 6  # ids that a tag's 256 characters hold
TAGGED_AT_ONCE = 10  # checks whose tags one request gives
HEALTHY_SHARE = 0.18  # Route 53 calls an endpoint healthy when more than so many of its checkers do
OF_ENDPOINTS = ("HTTP", "HTTPS", "HTTP_STR_MATCH", "HTTPS_STR_MATCH", "TCP")
RECORD_ARGUMENTS = {"HealthCheckId": "health_check_id", "Weight": "weighted_routing_policy.weight"}
KEPT_OUT = {"RequestInterval", "MeasureLatency", "Type"}  # what UpdateHealthCheck does not take


def of_route53(world: World, operation: str, **parameters: Any) -> dict[str, Any]:
    """One request to Route 53."""
    return world.aws.call("route53", operation, **parameters)


def _plain(value: Any) -> Any:
    """A document without what is absent, which an answer may hold as null or empty."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in sorted(value.items()) if inner not in (None, [], "")}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


# Documents ---------------------------------------------------------------------------------------------------------


def record_sets(world: World, zone: str = "") -> Iterator[tuple[str, Object]]:
    """``RecordSet <zone's id> <name> <type> <set identifier>`` and the record set, of one zone (its name) or of all."""
    for found in world.aws.pages("route53", "list_hosted_zones", "HostedZones"):
        if zone and found["Name"].rstrip(".") != zone.rstrip("."):
            continue
        number = found["Id"].rpartition("/")[2]
        pages = world.aws.pages("route53", "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=number)
        for record in pages:
            name = f"{number} {record['Name']} {record['Type']} {record.get('SetIdentifier', '')}".rstrip()
            yield f"{RecordSets.kind} {name}", _plain(record)


class RecordSets:
    """See :class:`include.levers.documents.Store`; the token is the record set as it was read."""

    kind = "RecordSet"
    conflicts = frozenset({"InvalidChangeBatch"})

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        """The record set called ``<zone's id> <name> <type> <set identifier>``."""
        zone, title, kind, *rest = name.split(" ", 3)
        start = {"HostedZoneId": zone, "StartRecordName": title, "StartRecordType": kind}
        for record in world.aws.pages("route53", "list_resource_record_sets", "ResourceRecordSets", **start):
            if (record["Name"], record["Type"]) != (title, kind):
                break
            if record.get("SetIdentifier", "") == "".join(rest):
                return _plain(record), json.dumps(_plain(record))
        return None, ""

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        """Replace it, and wait until every name server has it."""
        changes = [("DELETE", json.loads(token)), ("CREATE", document)]
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record} for action, record in changes]}
        zone = name.partition(" ")[0]
        change = of_route53(world, "change_resource_record_sets", HostedZoneId=zone, ChangeBatch=batch)["ChangeInfo"]

        def missing() -> list[str]:
            state = of_route53(world, "get_change", Id=change["Id"])["ChangeInfo"]["Status"]
            return [] if state == "INSYNC" else [f"change {change['Id']} is {state}"]

        world.await_cloud(missing, f"{self.kind} {name} on every name server")

    def argument(self, name: str, path: Path) -> tuple[str, str, str]:
        """A field of an ``aws_route53_record``."""
        zone, title, *rest = name.split(" ", 3)
        return "aws_route53_record", "_".join([zone, title.rstrip("."), *rest]), RECORD_ARGUMENTS[path[0]]

    def export(self, world: World, name: str, change: Object) -> Export:
        """The whole record set with ``change`` in it; that alone where a traffic policy has made it."""
        document, _ = self.read(world, name)
        if document is None:
            return Export()
        try:
            return Export(resources=(terraform.record_set(name.partition(" ")[0], {**document, **change}),))
        except terraform.Untold:
            told = [
                Change(f"{self.kind} {name} {key}", document.get(key), value, *self.argument(name, (key,)))
                for key, value in change.items()
            ]
            return Export(changes=tuple(told))


class CheckSettings:
    """See :class:`include.levers.documents.Store`: what UpdateHealthCheck can change of a health check."""

    kind = "HealthCheck"
    conflicts = frozenset({"HealthCheckVersionMismatch"})

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        """The settings of the check with that id, and its version."""
        try:
            found = of_route53(world, "get_health_check", HealthCheckId=name)["HealthCheck"]
        except AwsRefusedError as error:
            if error.code != "NoSuchHealthCheck":
                raise
            return None, ""
        return _plain(found["HealthCheckConfig"]), str(found["HealthCheckVersion"])

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        """Update the check, if its version is still that of ``token``."""
        known = {key: value for key, value in document.items() if key not in KEPT_OUT}
        of_route53(world, "update_health_check", HealthCheckId=name, HealthCheckVersion=int(token), **known)

    def argument(self, name: str, path: Path) -> tuple[str, str, str]:
        """The children of a calculated check."""
        del path
        return "aws_route53_health_check", name, "child_healthchecks"


RECORD_SETS, CHECK_SETTINGS = RecordSets(), CheckSettings()


# Health checks -----------------------------------------------------------------------------------------------------


def health_checks(world: World) -> dict[str, Object]:
    """Every health check of the account as Route 53 lists it, by id."""
    return {check["Id"]: check for check in world.aws.pages("route53", "list_health_checks", "HealthChecks")}


def replaced_by(check: Object) -> str | None:
    """The id of the check that this one was made to replace; None for one that no lever made."""
    mark, _, rest = check["CallerReference"].partition(":")
    return rest.partition(":")[0] if mark == MARK and rest else None


def checks_used(world: World, zone: str) -> dict[str, str]:
    """The id of the check of each record set of a zone that has one."""
    return {user: record["HealthCheckId"] for user, record in record_sets(world, zone) if "HealthCheckId" in record}


def usage(world: World, every: Mapping[str, Object]) -> dict[str, str]:
    """Which check each record set of the account uses, and each calculated check (``HealthCheck <id> <child>``)."""
    found = {user: str(record["HealthCheckId"]) for user, record in record_sets(world) if "HealthCheckId" in record}
    for parent, check in every.items():
        children = check["HealthCheckConfig"].get("ChildHealthChecks") or []
        found |= {f"{HealthChecks.kind} {parent} {child}": child for child in children}
    return found


def endpoints_used(world: World, zone: str, every: Mapping[str, Object]) -> list[str]:
    """The ids of the checks of endpoints that a zone's record sets use. Any other kind, such as a calculated check, has
    neither what is saved nor a status that Route 53 tells, and its children change under it.
    """
    found = sorted({*checks_used(world, zone).values()} & {*every})
    return [name for name in found if every[name]["HealthCheckConfig"]["Type"] in OF_ENDPOINTS]


def _is_parent(user: str) -> bool:
    return user.startswith(f"{HealthChecks.kind} ")


def zone_checks(world: World, zone: str) -> tuple[dict[str, Object], list[str]]:
    """The endpoints' checks that a zone's record sets use, and those that they have replaced and somebody still uses,
    by id as a snapshot keeps them, the newest first; and those replaced that nobody uses. One look at the account.
    """
    every = health_checks(world)
    used_by, made = usage(world, every), chains(world, every)
    names = endpoints_used(world, zone, every)
    olds = {old for name in names for old in made.get(name, []) if old in every}
    found = {
        name: {
            "settings": settings_of(every[name]),
            "users": sorted(user for user in used_by if used_by[user] == name),
            "replaces": made.get(name, []),
            "successors": sorted(new for new in made if name in made[new]),
        }
        for name in sorted({*names, *(olds & {*used_by.values()})}, key=lambda name: (-len(made.get(name, [])), name))
    }
    return found, sorted(olds - {*used_by.values()})


def reachable(world: World) -> Iterator[Check]:
    """Does Route 53 answer?"""
    yield Check("Route 53 reachable", True, f"Route 53 answers, {len(health_checks(world))} health checks")


def settings_of(check: Object) -> Object:
    """What a check was made with."""
    plain: Object = _plain(check["HealthCheckConfig"])
    return plain


def chains(world: World, every: Mapping[str, Object], names: Sequence[str] | None = None) -> dict[str, list[str]]:
    """What each check of ours was made in place of. The tag comes right after the check: without it the last one."""
    found = {n: [old] for n, c in every.items() if (old := replaced_by(c)) and (names is None or n in names)}
    ids = sorted(found)
    for first in range(0, len(ids), TAGGED_AT_ONCE):
        some = ids[first : first + TAGGED_AT_ONCE]
        answer = of_route53(world, "list_tags_for_resources", ResourceType="healthcheck", ResourceIds=some)
        for tagged in answer["ResourceTagSets"]:
            chain = next((tag["Value"] for tag in tagged["Tags"] if tag["Key"] == CHAIN), "")
            found[tagged["ResourceId"]] = chain.split() or found[tagged["ResourceId"]]
    return found


class HealthChecks:
    """See :class:`include.levers.replaced.Replaceable`. Record sets and calculated checks use them."""

    kind = "HealthCheck"

    def settings(self, world: World, name: str) -> Object | None:
        """What the check with that id was made with."""
        return CHECK_SETTINGS.read(world, name)[0]

    def chain(self, world: World, name: str) -> list[str]:
        """The ids that a check was made in place of, newest first."""
        return chains(world, health_checks(world), [name]).get(name, [])

    def successors(self, world: World, old: str) -> list[str]:
        """Ids of what was made in place of ``old``."""
        return [name for name, chain in chains(world, health_checks(world)).items() if old in chain]

    def make(self, world: World, chain: Sequence[str], settings: Object) -> str:
        """Make a check, tagged with its chain. A reference that a deleted check has had is not taken again."""
        said = json.dumps([world.target.run_id, settings], sort_keys=True)
        digest = hashlib.sha256(said.encode()).hexdigest()[:8]
        make = functools.partial(of_route53, world, "create_health_check", HealthCheckConfig=settings)
        try:
            made = make(CallerReference=f"{MARK}:{chain[0]}:{digest}")
        except AwsRefusedError as error:
            if error.code != "HealthCheckAlreadyExists":
                raise
            made = make(CallerReference=f"{MARK}:{chain[0]}:{uuid.uuid4().hex[:8]}")
        name = str(made["HealthCheck"]["Id"])
        tags = [{"Key": CHAIN, "Value": " ".join(chain[:LONGEST_CHAIN])}]
        of_route53(world, "change_tags_for_resource", ResourceType="healthcheck", ResourceId=name, AddTags=tags)
        return name

    def missing(self, world: World, name: str) -> list[str]:
        """Why Route 53's checkers don't call it healthy."""
        answer = of_route53(world, "get_health_check_status", HealthCheckId=name)["HealthCheckObservations"]
        reports = [observation["StatusReport"]["Status"] for observation in answer]
        failed = [text for text in reports if not text.startswith("Success")]
        if reports and 1 - len(failed) / len(reports) > HEALTHY_SHARE:
            return []
        return [
            f"{len(failed)} of {len(reports)} checkers fail: {failed[0]}" if failed else "no checker has reported yet"
        ]

    def users(self, world: World, names: Sequence[str]) -> dict[str, str]:
        """The record sets of every zone, and the calculated checks, that use one of ``names``."""
        found = {user: name for user, name in usage(world, health_checks(world)).items() if name in names}
        # A calculated check is told by which of its children is meant: the same one before and after a switch.
        return {f"{user.rpartition(' ')[0]} {names[0]}" if _is_parent(user) else user: n for user, n in found.items()}

    def used_by(self, world: World, user: str) -> str | None:
        """What a record set, or a calculated check in place of the id in its name, uses."""
        name = user.partition(" ")[2]
        if not _is_parent(user):
            return (RECORD_SETS.read(world, name)[0] or {}).get("HealthCheckId")
        parent, _, old = name.partition(" ")
        children = (CHECK_SETTINGS.read(world, parent)[0] or {}).get("ChildHealthChecks", [])
        return next((child for child in children if child in (old, *self.successors(world, old))), None)

    def switch(self, world: World, user: str, old: str, new: str) -> None:
        """Have a record set or a calculated check use ``new``."""
        name, is_record = user.partition(" ")[2], not _is_parent(user)
        store: Store = RECORD_SETS if is_record else CHECK_SETTINGS

        def change(document: Object) -> Object:
            if not is_record:
                children = [new if child == old else child for child in document["ChildHealthChecks"]]
                return {**document, "ChildHealthChecks": children}
            now = document.get("HealthCheckId")
            if now not in (old, new):
                raise Refused(f"{world.place}: {user} uses health check {now} by now, not {old}: it was left alone")
            return {**document, "HealthCheckId": new}

        edit(world, store, name if is_record else name.partition(" ")[0], change)

    def delete(self, world: World, name: str) -> None:
        """Delete a check; Route 53 does so even while record sets use it."""
        try:
            of_route53(world, "delete_health_check", HealthCheckId=name)
        except AwsRefusedError as error:
            if error.code != "NoSuchHealthCheck":
                raise

    def export(self, world: World, name: str, settings: Object, was: Mapping[str, Json]) -> Export:
        """See :class:`include.levers.replaced.Replaceable`. A successor that stands already is imported."""
        made = next((new for new in self.successors(world, name) if self.settings(world, new) == settings), None)
        tags = {CHAIN: " ".join([name, *was["replaces"]][:LONGEST_CHAIN])}
        resource = terraform.health_check(label(f"akidb_{name}"), settings, tags, made)
        new = Reference(f"{resource.address}.id")
        users = [_switched(world, user, name, new) for user in was["users"]]
        return joined([Export(resources=(resource,), removed=(f"{self.kind} {name}",)), *users])


def _switched(world: World, user: str, old: str, new: Reference) -> Export:
    """A record set with the new check; a calculated check may have others as well, and is told."""
    name = user.partition(" ")[2]
    if not _is_parent(user):
        return RECORD_SETS.export(world, name, {"HealthCheckId": new})
    where = CHECK_SETTINGS.argument(name.partition(" ")[0], ())
    return Export(changes=(Change(f"{user} ChildHealthChecks", old, f"${{{new}}}", *where),))


CHECKS = HealthChecks()
