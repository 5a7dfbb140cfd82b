"""SQS queues and the EventBridge rules that feed them, as levers read and write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.clients.aws import AwsRefusedError
from include.levers import terraform
from include.levers.held_fields import NOT_IN_SNAPSHOT
from include.levers.owned import Holds, Report
from include.levers.unmet import unmet
from include.levers.world import Object, World
from include.rollout.export import Export
from include.rollout.lever import Difference, Json, Refused

NO_QUEUE = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}


def queue_arn(world: World, name: str) -> str:
    """A queue's ARN, also of one that doesn't exist yet."""
    found = read_queue(world, name, ["QueueArn"])
    if found is not None:
        return str(found["QueueArn"])
    who = world.aws.call("sts", "get_caller_identity")
    partition = who["Arn"].split(":")[1]
    return f"arn:{partition}:sqs:{world.target.region}:{who['Account']}:{name}"


def read_queue(world: World, name: str, attributes: Iterable[str]) -> dict[str, str | None] | None:
    """These attributes of a queue, None without the queue."""
    try:
        url, names = queue_url(world, name), list(attributes)
    except AwsRefusedError as error:
        if error.code not in NO_QUEUE:
            raise
        return None
    answer = world.aws.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=names)
    found = answer.get("Attributes", {})
    return {key: found.get(key) or None for key in names}


def queue_url(world: World, name: str) -> str:
    """A queue's URL. Raises AwsRefusedError without the queue."""
    return str(world.aws.call("sqs", "get_queue_url", QueueName=name)["QueueUrl"])


def read_rule(world: World, name: str) -> Object | None:
    """A rule's pattern and target ARNs, None when there is no such rule."""
    try:
        rule = world.aws.call("events", "describe_rule", Name=name)
    except AwsRefusedError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    return {"pattern": json.loads(rule["EventPattern"]), "targets": sorted(t["Arn"] for t in _targets(world, name))}


def write_rule(world: World, name: str, rule: Mapping[str, Any]) -> None:
    """Create or overwrite a rule with its targets. Raises Refused for a target that EventBridge does not take."""
    pattern = json.dumps(rule["pattern"], sort_keys=True)
    world.aws.call("events", "put_rule", Name=name, EventPattern=pattern, State="ENABLED")
    targets = [{"Id": f"target-{n}", "Arn": arn} for n, arn in enumerate(rule["targets"])]
    answer = world.aws.call("events", "put_targets", Rule=name, Targets=targets)
    if answer.get("FailedEntryCount"):
        raise Refused(f"EventBridge rule {name}: {answer['FailedEntries'][0].get('ErrorMessage')}")


def delete_rule(world: World, name: str) -> None:
    """Delete a rule and its targets."""
    targets = [target["Id"] for target in _targets(world, name)]
    if targets:
        world.aws.call("events", "remove_targets", Rule=name, Ids=targets)
    world.aws.call("events", "delete_rule", Name=name)


def _targets(world: World, name: str) -> list[Any]:
    return list(world.aws.pages("events", "list_targets_by_rule", "Targets", Rule=name))


# Owned by a lever ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queue:
    """A queue as :class:`include.levers.owned.Thing`: the ``attributes`` that a lever sets, and tags of a new one."""

    name: str
    attributes: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    wanted: bool = True
    key: str = "Queue"

    def entry(self, world: World) -> Json:
        """The attributes, None without the queue."""
        return read_queue(world, self.name, self.attributes)

    def unnamed(self, world: World) -> list[Json]:
        """Nothing: nobody knows who has made a queue."""
        del world
        return []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """The attributes whose value in ``entry`` is another one."""
        return unmet(self.key, entry, dict(self.attributes))

    def write(self, world: World, dry_run: bool = False) -> bool:
        """Create the queue, or set its attributes where they differ."""
        live = self.entry(world)
        if dry_run or (live is not None and all(live[name] == value for name, value in self.attributes.items())):
            return False
        world.target.fence()
        if live is None:
            tags = dict(self.tags)
            world.aws.call("sqs", "create_queue", QueueName=self.name, Attributes=dict(self.attributes), tags=tags)
        else:
            self._set(world, self.attributes)
        return True

    def _set(self, world: World, attributes: Mapping[str, str]) -> None:
        url = queue_url(world, self.name)
        world.aws.call("sqs", "set_queue_attributes", QueueUrl=url, Attributes=dict(attributes))

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """Set the attributes back that still are the lever's, or delete the queue that wasn't there."""
        live = self.entry(world)
        is_held = live is not None and bool(held and held(live))
        if live is None or was is None:
            if live == was:
                return None
            if live is None or is_held:
                report.append(Difference(self.key, was, live))
                return None
            world.aws.call("sqs", "delete_queue", QueueUrl=queue_url(world, self.name))
            return "deleted"
        back: dict[str, str] = {}
        for name, value in self.attributes.items():
            if name in was and live[name] == was[name]:
                continue
            if name in was and live[name] == value and not is_held:
                back[name] = was[name] or ""  # an empty policy is none
            else:
                report.append(Difference(f"{self.key} {name}", was.get(name, NOT_IN_SNAPSHOT), live[name]))
        if back:
            self._set(world, back)
        return "set back" if back else None

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """The attributes that are not what they were, or the queue as a whole where one of the two has none."""
        live = self.entry(world)
        if live is None or was is None:
            return [] if live == was else [Difference(self.key, live, was)]
        return [Difference(f"{self.key} {n}", live.get(n), v) for n, v in was.items() if live.get(n) != v]

    def export(self, world: World, was: Json) -> Export:
        """The whole queue: what others have set of one that exists stays in it."""
        del was
        live, url = {}, None
        if self.entry(world) is not None:
            url = queue_url(world, self.name)
            live = world.aws.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
        whole = {**live, **self.attributes}
        return Export(resources=(terraform.queue(self.name, whole, self.tags, world.target.region, url),))


@dataclass(frozen=True)
class EventRule:
    """An EventBridge rule as :class:`include.levers.owned.Thing`; ``body`` has its pattern and its targets' ARNs.

    Without ``body`` it is a rule that this release does not write.
    """

    name: str
    body: Object | None = None
    wanted: bool = True

    @property
    def key(self) -> str:
        """``Rule/akidb-health``."""
        return f"Rule/{self.name}"

    def entry(self, world: World) -> Json:
        """Pattern and targets, None without the rule."""
        return read_rule(world, self.name)

    def unnamed(self, world: World) -> list[Json]:
        """It did not exist, if what stands there is as the lever writes it."""
        return [None] if self._is_written(self.entry(world)) else []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """What of the pattern and the targets is another in ``entry``."""
        return unmet(self.key, entry, self.body)

    def write(self, world: World, dry_run: bool = False) -> bool:
        """Write the rule where it differs."""
        if dry_run or self.body is None or self.entry(world) == self.body:
            return False
        world.target.fence()
        write_rule(world, self.name, self.body)
        return True

    def _is_written(self, live: Json) -> bool:
        """Whether it is as the lever writes it, its targets perhaps not yet or no more: they are written apart."""
        if live is None or self.body is None:
            return False
        return live["pattern"] == self.body["pattern"] and set(live["targets"]) <= set(self.body["targets"])

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """Set the rule back that is as the lever wrote it, or delete the one that wasn't there."""
        live = self.entry(world)
        if live == was:
            return None
        if not self._is_written(live) or (held and held(live)):
            report.append(Difference(self.key, was, live))
            return None
        if was is None:
            delete_rule(world, self.name)
            return "deleted"
        write_rule(world, self.name, was)
        return "set back"

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """The rule, where it is not what it was."""
        live = self.entry(world)
        return [] if live == was else [Difference(self.key, live, was)]

    def export(self, world: World, was: Json) -> Export:
        """The rule and its targets."""
        del was
        if self.body is None:
            return Export()
        live = self.entry(world) is not None
        known = {target["Arn"]: target["Id"] for target in _targets(world, self.name)} if live else {}
        targets = {known.get(arn, f"target-{n}"): arn for n, arn in enumerate(self.body["targets"])}
        pattern = json.dumps(self.body["pattern"], sort_keys=True)
        stands = {*known.values()} if live else None
        found = terraform.event_rule(self.name, pattern, targets, world.target.region, stands)
        return Export(resources=tuple(found))
