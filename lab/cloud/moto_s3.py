"""S3 as AWS answers it, where moto is laxer: lifecycle configurations are checked, kept whole and replaced whole.

Beside that the lab's own: an object's age and size as its metadata asks for (:mod:`lab.cloud.storage`).
:func:`as_aws` changes moto's classes, so that the emulator and an in-process ``mock_aws`` are repaired alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.cloud.lifecycle import DEFAULT_MINIMUM, MINIMA, problem
from lab.cloud.storage import BYTES, MODIFIED

HEADER = "x-amz-transition-default-minimum-object-size"


def as_aws() -> None:
    """Repair moto's S3 in this process; a second call changes nothing."""
    from moto.s3.models import FakeBucket, FakeKey
    from moto.s3.responses import S3Response

    if getattr(FakeBucket, "as_aws", False):
        return
    FakeBucket.as_aws = True  # type: ignore[attr-defined]
    FakeBucket.set_lifecycle = _checking(FakeBucket.set_lifecycle)  # type: ignore[method-assign]
    FakeKey.set_metadata = _claiming(FakeKey.set_metadata)  # type: ignore[method-assign]
    FakeKey.size = property(_size)  # type: ignore[assignment,method-assign]
    S3Response.get_object = _as_long_as_it_is(S3Response.get_object)  # type: ignore[method-assign]
    put = _putting(S3Response._bucket_response_put)  # noqa: SLF001 - moto has no public method of a bucket's PUT
    S3Response._bucket_response_put = put  # type: ignore[method-assign]  # noqa: SLF001
    S3Response.get_bucket_lifecycle = _get_lifecycle  # type: ignore[method-assign]


# Objects -------------------------------------------------------------------------------------------------------------


def _claiming(kept: Callable[..., None]) -> Callable[..., None]:
    def set_metadata(self: Any, metadata: Any, replace: bool = False) -> None:
        kept(self, metadata, replace)
        told = {key.lower().removeprefix("x-amz-meta-"): value for key, value in self._metadata.items()}
        if MODIFIED in told:
            self.last_modified = dt.datetime.fromisoformat(told[MODIFIED]).astimezone(dt.UTC).replace(tzinfo=None)
        if BYTES in told:
            self.claimed_size = int(told[BYTES])

    return set_metadata


def _size(self: Any) -> int:
    """What listings and HEAD say; the body is as long as it is."""
    return int(self.__dict__.get("claimed_size", self.contentsize))


def _as_long_as_it_is(answered: Callable[..., Any]) -> Callable[..., Any]:
    def get(self: Any) -> Any:
        status, headers, body = answered(self)
        return status, {**headers, "content-length": str(len(body))}, body

    return get


# Lifecycle -----------------------------------------------------------------------------------------------------------


def _checking(kept: Callable[..., None]) -> Callable[..., None]:
    def set_lifecycle(self: Any, rules: list[dict[str, Any]]) -> None:
        """All rules of a bucket, or those from before when one of them is refused."""
        before = self.rules
        found = [document(rule) for rule in rules]
        if refused := problem(found):
            raise _refusal(*refused)
        try:
            kept(self, rules)
        except Exception:
            self.rules = before
            raise
        for rule, named in zip(found, self.rules, strict=True):
            rule.setdefault("ID", named.id)
        self.lifecycle = found

    return set_lifecycle


def _putting(answered: Callable[..., Any]) -> Callable[..., Any]:
    def put(self: Any, *arguments: Any, **more: Any) -> Any:
        answer = answered(self, *arguments, **more)
        if "lifecycle" not in self.querystring:
            return answer
        minimum = self.headers.get(HEADER) or DEFAULT_MINIMUM
        if minimum not in MINIMA:
            raise _refusal("InvalidRequest", f"{HEADER} {minimum!r} is not one of {', '.join(MINIMA)}")
        self.backend.get_bucket(self.bucket_name).lifecycle_minimum = minimum
        return 200, {HEADER: minimum}, ""

    return put


def _get_lifecycle(self: Any) -> Any:
    from moto.core.responses import ActionResult
    from moto.s3.exceptions import NoSuchLifecycleConfiguration

    self.data["Action"] = "GetBucketLifecycleConfiguration"
    bucket = self.backend.get_bucket(self.bucket_name)
    if not bucket.rules:
        raise NoSuchLifecycleConfiguration(bucket_name=self.bucket_name)
    minimum = getattr(bucket, "lifecycle_minimum", DEFAULT_MINIMUM)
    return self.serialized(ActionResult({"Rules": bucket.lifecycle, "TransitionDefaultMinimumObjectSize": minimum}))


def document(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule of the request's XML in the form of the API: lists in the plural, filters whole."""
    found = {key: value for key, value in rule.items() if key not in ("Transition", "NoncurrentVersionTransition")}
    for key in ("Transition", "NoncurrentVersionTransition"):
        if key in rule:
            found[f"{key}s"] = _list(rule[key])
    if "Filter" in rule:
        found["Filter"] = _filter(rule["Filter"] or {})
    elif "Prefix" in rule:
        found["Prefix"] = rule["Prefix"] or ""
    return found


def _filter(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {key: value if value is not None else "" for key, value in given.items()}
    if isinstance(given.get("And"), Mapping):
        both = dict(given["And"])
        if "Tag" in both:
            both["Tags"] = _list(both.pop("Tag"))
        found["And"] = {key: value if value is not None else "" for key, value in both.items()}
    return found


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _refusal(code: str, message: str) -> Exception:
    from moto.s3.exceptions import S3ClientError

    return S3ClientError(code, message)
