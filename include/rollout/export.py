"""What a lever wants, as files for a repository instead of writes: manifests, patches, Terraform, and what is left.

Pure: the same :class:`Export` gives the same bytes. What is whole goes into ``manifests.yaml`` and ``main.tf.json``;
fields of somebody else's object into ``patches.yaml``; what neither can say without claiming more than the change into
``changes.json``, with the argument to set in one's own resource.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import yaml

from include.rollout.lever import Difference, Json, Lever, Plan, Target

MANIFESTS, PATCHES, COMPONENT = "manifests.yaml", "patches.yaml", "kustomization.yaml"
TERRAFORM, CHANGES = "main.tf.json", "changes.json"
# Import blocks came with Terraform 1.5, the argument `region` of every resource with version 6 of the provider.
REQUIRED = {"required_version": ">= 1.5", "required_providers": {"aws": {"source": "hashicorp/aws", "version": ">= 6"}}}
LONGEST_LINE = 4096  # a query is not folded: a person compares whole lines


class Reference(str):
    """A Terraform expression, such as ``aws_sqs_queue.akidb.arn``; any other text is meant as it is."""

    __slots__ = ()


@dataclass(frozen=True)
class Resource:
    """A resource of Terraform's aws provider; ``import_id`` is set when the thing exists: a plan shows our change only.

    ``keeps`` are arguments that others move once it is made (``lifecycle.ignore_changes``).
    """

    type: str
    name: str
    arguments: Mapping[str, Json]
    import_id: str | None = None
    keeps: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """``aws_sqs_queue.akidb_interruptions``."""
        return f"{self.type}.{self.name}"


@dataclass(frozen=True)
class Change:
    """One field to be set by hand. ``resource``, ``id`` and ``argument`` say where in one's own Terraform, if there."""

    path: str
    before: Json
    after: Json
    resource: str = ""
    id: str = ""
    argument: str = ""


@dataclass(frozen=True)
class Export:
    """What a lever wants in one place. ``manifests`` are whole objects, ``patches`` fields of others' objects, both in
    the order in which they are made; ``removed`` names what is to be deleted once nobody uses it.
    """

    manifests: tuple[Json, ...] = ()
    patches: tuple[Json, ...] = ()
    resources: tuple[Resource, ...] = ()
    changes: tuple[Change, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """What the estate's ``governance.permanent`` names: see :func:`fingerprint`."""
        return fingerprint([*self.manifests, *self.patches])


def joined(parts: Iterable[Export]) -> Export:
    """All of them as one, in their order; each resource once, as it was given first."""
    found = list(parts)
    together = {f.name: [one for part in found for one in getattr(part, f.name)] for f in fields(Export)}
    together["resources"] = _once(together["resources"])
    return Export(**{name: tuple(values) for name, values in together.items()})


def _once(resources: Iterable[Resource]) -> list[Resource]:
    """Each as it was given first. Two that exist under ids of their own, such as the record sets of a-b.example and
    a.b.example, are never one: the later one's name has the hash of its id.
    """
    found: dict[str, Resource] = {}
    for resource in resources:
        there, one = found.get(resource.address), resource
        if there and None not in (there.import_id, one.import_id) and there.import_id != one.import_id:
            one = replace(one, name=f"{one.name}_{hashlib.sha256(str(one.import_id).encode()).hexdigest()[:8]}")
        found.setdefault(one.address, one)
    return [*found.values()]


def by_hand(differences: Sequence[Difference]) -> Export:
    """Differences that no file can carry, as changes."""
    return Export(changes=tuple(Change(d.path, d.before, d.after) for d in differences))


def export_of(lever: Lever, target: Target, plan: Plan) -> Export:
    """What ``plan`` wants; of a lever that can't say it as files, its differences."""
    export = getattr(lever, "export", None)
    found: Export = export(target, plan) if export else by_hand(plan.differences)
    return found


# Hashes --------------------------------------------------------------------------------------------------------------


def fingerprint(bodies: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over Kubernetes documents, whatever their order; empty without any.

    Namespaces are left out: a lever leaves one alone that others have made, which must not give another hash.
    """
    texts = sorted(json.dumps(body, sort_keys=True) for body in bodies if body["kind"] != "Namespace")
    return hashlib.sha256("\n".join(texts).encode()).hexdigest() if texts else ""


def digests(found: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}


def index(export: Export, found: Mapping[str, bytes], folder: str) -> dict[str, Json]:
    """What the ledger keeps of an export: where its files lie, their hashes, and how much they hold."""
    counts = {f.name: len(getattr(export, f.name)) for f in fields(Export)}
    return {"folder": folder, "sha256": export.sha256, "files": digests(found), **counts}


# Files ---------------------------------------------------------------------------------------------------------------


def files(export: Export, lever: str, place: str, manager: str) -> dict[str, bytes]:
    """The files by name, those that would be empty left out; ``manager`` is the field manager that the lever writes as.

    No time and no run stands in them: an unchanged estate exports the same bytes.
    """
    texts: dict[str, str] = {}
    head = f"# {lever} in {place}: {{}}\n"
    apply = f"kubectl apply --server-side --field-manager={manager or lever}"
    if export.manifests:
        note = f"objects that the change owns.\n# To try them by hand: {apply} -f {MANIFESTS}"
        texts[MANIFESTS] = head.format(note) + _documents(export.manifests)
    if export.patches:
        note = f"fields of objects that others own.\n# To try them by hand: {apply} --force-conflicts -f {PATCHES}"
        texts[PATCHES] = head.format(note) + _documents(export.patches)
    if texts:
        texts[COMPONENT] = head.format("a component for one's own kustomization.") + _documents([_component(texts)])
    if export.resources:
        texts[TERRAFORM] = _json(terraform(export.resources))
    if export.changes or export.removed:
        texts[CHANGES] = _json({"changes": [*map(asdict, export.changes)], "removed": [*export.removed]})
    return {name: text.encode() for name, text in texts.items()}


def _component(texts: Mapping[str, str]) -> Json:
    body: dict[str, Json] = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
    body |= {"resources": [MANIFESTS]} if MANIFESTS in texts else {}
    return body | ({"patches": [{"path": PATCHES}]} if PATCHES in texts else {})


def _json(document: Json) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class _Dumper(yaml.SafeDumper):
    """Block style, and whole paragraphs as such: rules and dashboards are read by people."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: each document stands for itself."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and not re.search(r"[ \t]\n|\t", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _documents(bodies: Sequence[Json]) -> str:
    options: dict[str, Any] = {"explicit_start": True, "allow_unicode": True, "width": LONGEST_LINE, "sort_keys": False}
    return str(yaml.dump_all([_ordered(body) for body in bodies], Dumper=_Dumper, **options))


def _ordered(value: Json, depth: int = 0) -> Json:
    """Keys sorted, but for what a document begins with."""
    if isinstance(value, Mapping):
        first = ("apiVersion", "kind", "metadata") if not depth else ()
        keys = [*(key for key in first if key in value), *sorted(key for key in value if key not in first)]
        return {key: _ordered(value[key], depth + 1) for key in keys}
    return [_ordered(one, depth + 1) for one in value] if isinstance(value, list | tuple) else value


def terraform(resources: Sequence[Resource]) -> Json:
    """The root of a ``.tf.json`` file."""
    by_type: dict[str, dict[str, Json]] = {}
    for one in resources:
        lifecycle = {"lifecycle": {"ignore_changes": [*one.keeps]}} if one.keeps else {}
        by_type.setdefault(one.type, {})[one.name] = literal(one.arguments) | lifecycle
    imports = [{"to": one.address, "id": literal(one.import_id)} for one in resources if one.import_id is not None]
    return {"terraform": REQUIRED, "resource": by_type} | ({"import": imports} if imports else {})


def literal(value: Json) -> Json:
    """A value as Terraform's JSON takes it literally: every text there is a template."""
    if isinstance(value, Reference):
        return f"${{{value}}}"
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, Mapping):
        return {key: literal(inner) for key, inner in value.items()}
    return [literal(one) for one in value] if isinstance(value, list | tuple) else value


def label(text: str) -> str:
    """``text`` as the name of a resource: letters, digits and ``_``."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
    return plain if plain[:1].isalpha() else f"akidb_{plain}"
