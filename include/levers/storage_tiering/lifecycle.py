"""A bucket's lifecycle rules: ours beside others', in one document that S3 replaces as a whole and without a token.

What is ours says so itself: a rule's ID holds a digest of its content, so that a rule that somebody has changed since
is told from one that the lever wrote, without any record of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from include.clients.aws import AwsRefusedError
from include.levers import terraform
from include.levers.documents import edit
from include.levers.fields import Object, Path
from include.levers.owned import Holds, Report
from include.levers.world import World
from include.rollout.export import Change, Export
from include.rollout.lever import Difference, Json, Refused

MARK = "akidb-tier-"
LONGEST_ID = 255
MOST_RULES = 1000  # of a bucket
SMALLEST = "TransitionDefaultMinimumObjectSize"


class Lifecycles:
    """See :class:`include.levers.documents.Store`. S3 has no version token here: what was read stands in for it."""

    kind = "Lifecycle"
    conflicts: frozenset[str] = frozenset()

    def read(self, world: World, name: str) -> tuple[Object | None, str]:
        """The rules of a bucket, none where it has no lifecycle, with the default smallest size where S3 tells it."""
        try:
            answer = world.aws.call("s3", "get_bucket_lifecycle_configuration", Bucket=name)
        except AwsRefusedError as error:
            if error.code == "NoSuchBucket":
                return None, ""
            if error.code != "NoSuchLifecycleConfiguration":
                raise
            answer = {}
        document = {"Rules": answer.get("Rules", [])} | {key: answer[key] for key in (SMALLEST,) if key in answer}
        return document, _as_text(document)

    def write(self, world: World, name: str, document: Object, token: str) -> None:
        """Write all rules, or delete the lifecycle when none is left, and wait until S3 shows something else."""
        if document["Rules"]:
            whole = {key: value for key, value in document.items() if key != "Rules"} | {"Bucket": name}
            rules = {"Rules": document["Rules"]}
            world.aws.call("s3", "put_bucket_lifecycle_configuration", LifecycleConfiguration=rules, **whole)
        else:
            world.aws.call("s3", "delete_bucket_lifecycle", Bucket=name)

        def missing() -> list[str]:  # S3 may answer a first read with the rules from before
            return ["it still shows the rules from before"] if self.read(world, name)[1] == token else []

        world.await_cloud(missing, f"{self.kind} {name}")

    def argument(self, name: str, path: Path) -> tuple[str, str, str]:
        """The rules of an ``aws_s3_bucket_lifecycle_configuration``."""
        del path
        return "aws_s3_bucket_lifecycle_configuration", name, "rule"


LIFECYCLES = Lifecycles()


# Rules ---------------------------------------------------------------------------------------------------------------


def rule(prefix: str, storage_class: str, from_bytes: int, days: int) -> Object:
    """Our rule for the objects of one version that have at least ``from_bytes`` and are older than ``days``."""
    body = {
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": prefix, "ObjectSizeGreaterThan": from_bytes - 1}},
        "Transitions": [{"Days": days, "StorageClass": storage_class}],
    }
    return {"ID": _id_of(body), **body}


def _id_of(body: Mapping[str, Json]) -> str:
    digest = hashlib.sha256(_as_text(body).encode()).hexdigest()[:8]
    return f"{MARK}{digest}-{prefix_of(body).rstrip('/')}"[:LONGEST_ID]


def _as_text(document: Json) -> str:
    return json.dumps(document, sort_keys=True, default=str)  # others' rules may hold dates


def prefix_of(found: Mapping[str, Json]) -> str:
    """The keys that a rule is for; older rules say it outside of their filter."""
    where = found.get("Filter") or {}
    return str((where.get("And") or where).get("Prefix", found.get("Prefix")) or "")


def is_of_old_form(found: Mapping[str, Json]) -> bool:
    """Whether a rule says its prefix outside of a filter: S3 takes no document that has such a rule beside ours.

    Its words: "Filter element can only be used in Lifecycle V2", or "Base level prefix cannot be used in Lifecycle V2".
    """
    return "Filter" not in found and found.get("Prefix") is not None


def is_ours(found: Mapping[str, Json]) -> bool:
    """Whether the lever made the rule, whatever became of it."""
    return str(found.get("ID", "")).startswith(MARK)


def is_as_written(found: Mapping[str, Json]) -> bool:
    """Whether one of ours is still what the lever wrote."""
    return bool(found["ID"] == _id_of({key: value for key, value in found.items() if key != "ID"}))


def ours(document: Object) -> dict[str, Object]:
    """The rules that the lever made, by ID."""
    return {found["ID"]: found for found in document["Rules"] if is_ours(found)}


def words(found: Object | None) -> str | None:
    """A rule of ours as a person reads it."""
    if found is None:
        return None
    where, moves = found.get("Filter", {}).get("And", {}), found.get("Transitions") or [{}]
    size, move = where.get("ObjectSizeGreaterThan"), moves[0]
    text = f"over {size} bytes to {move.get('StorageClass')} after {move.get('Days')} days"
    return text if found.get("Status") == "Enabled" else f"{text}, {found.get('Status')}"


def _changes(key: str, before: Mapping[str, Object], after: Mapping[str, Object]) -> list[Difference]:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [Difference(f"{key} {name}", words(before.get(name)), words(after.get(name))) for name in names]


# What the lever owns -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """All rules of ours in a bucket's lifecycle, by ID; others' are never touched."""

    bucket: str
    rules: Mapping[str, Object] = field(default_factory=dict)
    wanted: bool = True

    @property
    def key(self) -> str:
        """See :class:`include.levers.owned.Thing`."""
        return f"{LIFECYCLES.kind} {self.bucket}"

    def entry(self, world: World) -> Json:
        """See :class:`include.levers.owned.Thing`: our rules as they are."""
        document, _ = LIFECYCLES.read(world, self.bucket)
        return None if document is None else {"rules": ours(document)}

    def unnamed(self, world: World) -> list[Json]:
        """See :class:`include.levers.owned.Thing`: a snapshot of another bucket says nothing of the rules here."""
        entry = self.entry(world)
        return [{"rules": {}}] if entry and entry["rules"] else []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        if entry is None:
            return [Difference(self.key, None, "missing")]
        return _changes(self.key, entry["rules"], self.rules)

    def write(self, world: World, dry_run: bool = False) -> bool:
        """See :class:`include.levers.owned.Thing`. S3 has no dry run of it."""
        return False if dry_run else edit(world, LIFECYCLES, self.bucket, partial(_merged, rules=self.rules))

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`: our rules as they were; one that others have changed since stays."""
        del held
        document, _ = LIFECYCLES.read(world, self.bucket)
        if document is None or was is None:
            report += self.unrestored(world, was)
            return None
        report += _changes(self.key, was["rules"], _theirs(document, was["rules"]))
        back = partial(_restored, was=was["rules"])
        return "set back" if edit(world, LIFECYCLES, self.bucket, back) else None

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        entry = self.entry(world)
        if entry is None or was is None:
            return [] if entry == was else [Difference(self.key, entry and "there", was and "there")]
        return _changes(self.key, entry["rules"], was["rules"])

    def export(self, world: World, was: Json) -> Export:
        """See :class:`include.levers.owned.Thing`: the whole lifecycle, as S3 knows no part of one.

        Where others' rules have what the provider can't say, only ours, to be added to one's own resource.
        """
        document, _ = LIFECYCLES.read(world, self.bucket)
        if document is None:
            return Export()
        answer = world.aws.call("s3", "get_bucket_location", Bucket=self.bucket)
        region = str(answer.get("LocationConstraint") or "us-east-1")
        try:
            whole = _merged(document, self.rules)
            found = terraform.lifecycle(self.bucket, whole, region, exists=bool(document["Rules"]))
        except terraform.Untold:
            before, where = (was or {}).get("rules", {}), LIFECYCLES.argument(self.bucket, ())
            names = [name for name in {**before, **self.rules} if before.get(name) != self.rules.get(name)]
            told = (Change(f"{self.key} {n}", before.get(n), self.rules.get(n), *where) for n in names)
            return Export(changes=tuple(told))
        return Export(resources=(found,))


def _merged(document: Object, rules: Mapping[str, Object]) -> Object:
    """The document with exactly these rules of ours; everything of others' as it is."""
    kept = [rules.get(found["ID"], found) for found in document["Rules"] if not is_ours(found) or found["ID"] in rules]
    there = {found.get("ID") for found in kept}
    return _within_limit({**document, "Rules": [*kept, *(rules[name] for name in rules if name not in there)]})


def _within_limit(document: Object) -> Object:
    if len(document["Rules"]) <= MOST_RULES:
        return document
    raise Refused(
        f"a bucket has at most {MOST_RULES} lifecycle rules, and these would be {len(document['Rules'])}: let old "
        "versions expire, or raise models_older_than_days"
    )


def _theirs(document: Object, was: Mapping[str, Object]) -> dict[str, Object]:
    """Those of our rules that somebody has changed since they were written, and that a rollback leaves alone."""
    changed = {name: found for name, found in ours(document).items() if not is_as_written(found)}
    return {name: found for name, found in changed.items() if found != was.get(name)}


def _restored(document: Object, was: Mapping[str, Object]) -> Object:
    """The document with our rules as they were, but for those that somebody has changed since."""
    return _merged(document, {**was, **_theirs(document, was)})
