"""Rules of an S3 lifecycle configuration: what S3 refuses, and the storage class that they give an object.

Rules are in the form of the API (``Transitions``, ``Filter`` ...); days may be text, as a request's XML holds them.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

# From the warmest to the coldest: a transition leads to a colder class only.
CLASSES = ("STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")
IA_DAYS = 30  # days in STANDARD before an object may go to an infrequent access class, and in it before it goes on
LONGEST_ID = 255
MOST_RULES = 1000
ACTIONS = (
    *("Transitions", "Expiration", "NoncurrentVersionTransitions", "NoncurrentVersionExpiration"),
    "AbortIncompleteMultipartUpload",
)
DEFAULT_MINIMUM = "all_storage_classes_128K"
MINIMA = (DEFAULT_MINIMUM, "varies_by_storage_class")
SMALL = 128 * 1024  # bytes; smaller objects stay where they are, unless a rule's own filter says otherwise
SCHEMA = "The XML you provided was not well-formed or did not validate against our published schema"
Refused = tuple[str, str]  # AWS's code and message


def problem(rules: Sequence[Mapping[str, Any]]) -> Refused | None:
    """Why S3 refuses these rules; None when it takes them."""
    if not 1 <= len(rules) <= MOST_RULES:
        return "MalformedXML", SCHEMA
    names = [str(rule["ID"]) for rule in rules if rule.get("ID")]
    if any(len(name) > LONGEST_ID for name in names):
        return "InvalidArgument", f"ID length should not exceed allowed limit of {LONGEST_ID}"
    if len(set(names)) != len(names):
        return "InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule"
    return next((found for rule in rules if (found := _problem_of(rule))), None)


def _problem_of(rule: Mapping[str, Any]) -> Refused | None:
    if rule.get("Status") not in ("Enabled", "Disabled"):
        return "MalformedXML", SCHEMA
    if _malformed(rule.get("Filter") or {}):
        return "MalformedXML", SCHEMA
    if not any(rule.get(action) for action in ACTIONS):
        return "InvalidRequest", "At least one action needs to be specified in a rule"
    transitions = list(rule.get("Transitions") or [])
    if any(step.get("StorageClass") not in CLASSES[1:] or _mixed(step) for step in transitions):
        return "MalformedXML", SCHEMA
    return _order(rule, transitions)


def _malformed(given: Mapping[str, Any]) -> bool:
    """A filter has one condition, or several within And."""
    both = given.get("And")
    joined = 2 if both is None else len(both) - ("Tags" in both) + len(both.get("Tags", []))
    return len(given) > 1 or joined < 2


def _mixed(step: Mapping[str, Any]) -> bool:
    return ("Days" in step) == ("Date" in step)


def _order(rule: Mapping[str, Any], transitions: Sequence[Mapping[str, Any]]) -> Refused | None:
    """The days of transitions and expiration against each other."""
    where = f"for filter '{_shown(rule)}'"
    expiration = rule.get("Expiration") or {}
    if len({"Days" in step for step in transitions if "Days" in step or "Date" in step}) > 1:
        return "InvalidRequest", f"Found mixed 'Date' and 'Days' based Transition actions in lifecycle rule {where}"
    dated = sorted((step for step in transitions if "Days" in step), key=lambda s: CLASSES.index(s["StorageClass"]))
    if len({step["StorageClass"] for step in dated}) != len(dated):
        return "InvalidRequest", f"'StorageClass' must be different for 'Transition' actions in same 'Rule' {where}"
    for step in dated:
        if refused := _too_early(step):
            return refused
    for warm, cold in itertools.pairwise(dated):
        gap = IA_DAYS if warm["StorageClass"] in ("STANDARD_IA", "ONEZONE_IA") else 1
        if int(cold["Days"]) < int(warm["Days"]) + gap:
            said = f"'Days' in the Transition action for StorageClass '{cold['StorageClass']}' {where} must be"
            return (
                "InvalidArgument",
                f"{said} {gap} days more than in the one for StorageClass '{warm['StorageClass']}'",
            )
    if dated and "Days" in expiration and int(expiration["Days"]) <= max(int(step["Days"]) for step in dated):
        said = f"'Days' in the Expiration action {where} must be greater than 'Days' in the Transition action"
        return "InvalidArgument", said
    return None


def _too_early(step: Mapping[str, Any]) -> Refused | None:
    days, kind = int(step["Days"]), step["StorageClass"]
    if days < 0:
        return "InvalidArgument", "'Days' in Transition action must be a non-negative integer"
    if kind in ("STANDARD_IA", "ONEZONE_IA") and days < IA_DAYS:
        said = f"'Days' in Transition action must be greater than or equal to {IA_DAYS} for storageClass '{kind}'"
        return "InvalidArgument", said
    return None


def _shown(rule: Mapping[str, Any]) -> str:
    found = rule.get("Filter") or {}
    prefix = found.get("Prefix", (found.get("And") or {}).get("Prefix", rule.get("Prefix", "")))
    return f"(prefix={prefix})"


# What rules do to an object ------------------------------------------------------------------------------------------


def matches(rule: Mapping[str, Any], key: str, size: int, tags: Mapping[str, str]) -> bool:
    """Is the object one of the rule's?"""
    given = rule.get("Filter", {"Prefix": rule.get("Prefix", "")}) or {}
    both = {**given, **(given.get("And") or {})}
    wanted = [both["Tag"]] if "Tag" in both else both.get("Tags", [])
    return (
        key.startswith(both.get("Prefix") or "")
        and size > int(both.get("ObjectSizeGreaterThan", -1))
        and size < int(both.get("ObjectSizeLessThan", size + 1))
        and all(tags.get(tag["Key"]) == tag["Value"] for tag in wanted)
    )


def storage_class(
    rules: Sequence[Mapping[str, Any]], key: str, size: int, age: dt.timedelta, minimum: str = DEFAULT_MINIMUM
) -> str:
    """The class of an untagged object of STANDARD that is so old, once S3 has carried the rules out.

    ``minimum`` is the configuration's TransitionDefaultMinimumObjectSize. Rules by date aren't looked at.
    """
    found = ["STANDARD"]
    for rule in rules:
        if rule["Status"] != "Enabled" or not matches(rule, key, size, {}):
            continue
        for step in rule.get("Transitions") or []:
            due = "Days" in step and age >= dt.timedelta(days=int(step["Days"]))
            if due and not _held_back(rule, size, step["StorageClass"], minimum):
                found.append(str(step["StorageClass"]))
    return max(found, key=CLASSES.index)


def _held_back(rule: Mapping[str, Any], size: int, kind: str, minimum: str) -> bool:
    """Does the default minimum size keep the object where it is? A rule's own lower limit is instead of it."""
    given = rule.get("Filter") or {}
    own = "ObjectSizeGreaterThan" in {**given, **(given.get("And") or {})}
    archive = kind in ("GLACIER", "DEEP_ARCHIVE") and minimum == "varies_by_storage_class"
    return size < SMALL and not own and not archive
