"""The desired state of a device, as the JSON that comes over SSH. Pure: text in, a checked state out.

The same check runs where the state is written and on the device. Nothing is guessed: an unknown field, a missing one
or a value out of its range is refused by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Mapping

FORMAT = 1
DAY_MINUTES = 1440
FIELDS = ("format", "device", "generation", "issued_at", "expires_at", "safe_mode")
OPTIONAL = ("mode", "schedule", "policy", "reboot")
POLICY_FIELDS = ("table", "utilisation", "hysteresis", "dwell_seconds", "lost_after_seconds", "load")
LOADS = (("prometheus", "query"), ("file", "metric"))


class RefusedState(ValueError):  # noqa: N818 - as the other refusals of this project are named
    """The desired state is not acceptable; the message names the field, the value and the remedy."""


@dataclass(frozen=True)
class ModeFigures:
    """What was measured of a mode: watts at full load and without load, and the requests/s that it can serve."""

    mode: str
    watts: float
    capacity_qps: float
    watts_idle: float | None = None

    def watts_at(self, load_qps: float) -> float:
        """Watts at a load, linear between idle and full; without an idle figure those at full load."""
        if self.watts_idle is None:
            return self.watts
        return self.watts_idle + (self.watts - self.watts_idle) * min(load_qps / self.capacity_qps, 1.0)


@dataclass(frozen=True)
class LoadSource:
    """Where the device's load is read: ``kind`` "prometheus" (address and query) or "file" (path and metric)."""

    kind: str
    address: str
    query: str


@dataclass(frozen=True)
class Policy:
    """How the mode follows the load; see :func:`jetson_tasks.policy.choose`."""

    table: tuple[ModeFigures, ...]
    utilisation: float
    hysteresis: float
    dwell_seconds: int
    lost_after_seconds: int
    load: LoadSource


@dataclass(frozen=True)
class Desired:
    """A checked desired state. ``schedule`` has (minute of the UTC day, mode), the first at 0; times are Unix seconds.

    ``document`` is what it was made from: two states of one generation are the same when their documents are.
    """

    device: str
    generation: int
    issued_at: float
    expires_at: float | None
    safe_mode: str
    mode: str | None
    schedule: tuple[tuple[int, str], ...]
    policy: Policy | None
    reboot: bool
    document: Mapping[str, Any]

    @property
    def needs_clock(self) -> bool:
        """Whether the device's clock has a say."""
        return bool(self.schedule) or self.expires_at is not None

    def base(self, now: float) -> str | None:
        """The mode that is asked for at ``now``, before the policy; None when the policy alone decides."""
        minute = int(now // 60) % DAY_MINUTES
        due = [mode for start, mode in self.schedule if start <= minute]
        return due[-1] if due else self.mode

    def modes(self) -> list[str]:
        """Every mode that it names, each once."""
        table = self.policy.table if self.policy else ()
        names = [self.safe_mode, self.mode, *(mode for _, mode in self.schedule), *(row.mode for row in table)]
        return list(dict.fromkeys(name for name in names if name is not None))


def parse(text: str) -> Desired:
    """The desired state in a JSON text. Raises RefusedState."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedState(f"the desired state is no JSON ({error}): write it again") from error
    fields = _fields("the desired state", document, FIELDS, OPTIONAL)
    if fields["format"] != FORMAT:
        raise RefusedState(
            f"format is {fields['format']!r}: this agent reads {FORMAT}; install the agent of the writer"
        )
    desired = Desired(
        device=_text(fields, "device"),
        generation=_whole(fields, "generation", 1, 2**53),
        issued_at=_number(fields, "issued_at", 0, 1e12),
        expires_at=None if fields["expires_at"] is None else _number(fields, "expires_at", 0, 1e12),
        safe_mode=_text(fields, "safe_mode"),
        mode=_text(fields, "mode") if fields.get("mode") is not None else None,
        schedule=_schedule(fields.get("schedule")),
        policy=_policy(fields.get("policy")),
        reboot=_flag(fields, "reboot"),
        document=fields,
    )
    return _consistent(desired)


def _consistent(desired: Desired) -> Desired:
    if desired.mode is not None and desired.schedule:
        raise RefusedState("mode and schedule are both given: leave one out")
    if desired.mode is None and not desired.schedule and desired.policy is None:
        raise RefusedState("none of mode, schedule and policy is given: give one")
    if desired.reboot and (desired.mode is None or desired.policy is not None):
        raise RefusedState(
            "reboot is allowed with a fixed mode alone: set reboot to false, or give mode without policy"
        )
    unmeasured = _unmeasured(desired)
    if unmeasured:
        raise RefusedState(f"policy.table has no figures of {_names(unmeasured)}: measure it, or leave it out")
    if desired.expires_at is not None and desired.expires_at <= desired.issued_at:
        raise RefusedState(f"expires_at {desired.expires_at} is not after issued_at {desired.issued_at}")
    return desired


def _unmeasured(desired: Desired) -> list[str]:
    """Modes that are asked for beside a policy that doesn't know what they can serve."""
    if desired.policy is None:
        return []
    known = {row.mode for row in desired.policy.table}
    asked = [desired.mode, *(mode for _, mode in desired.schedule)]
    return [mode for mode in dict.fromkeys(asked) if mode is not None and mode not in known]


def _schedule(value: Any) -> tuple[tuple[int, str], ...]:
    if value is None:
        return ()
    entries = [_fields(f"schedule[{n}]", entry, ("minute", "mode")) for n, entry in enumerate(_list("schedule", value))]
    found = tuple((_whole(entry, "minute", 0, DAY_MINUTES - 1), _text(entry, "mode")) for entry in entries)
    minutes = [minute for minute, _ in found]
    if minutes[0] != 0 or any(later <= earlier for earlier, later in zip(minutes, minutes[1:])):
        raise RefusedState(f"schedule has minutes {minutes}: the first must be 0 and each later than the one before")
    return found


def _policy(value: Any) -> Policy | None:
    if value is None:
        return None
    fields = _fields("policy", value, POLICY_FIELDS)
    return Policy(
        table=_table(fields["table"]),
        utilisation=_number(fields, "utilisation", 0.01, 1),
        hysteresis=_number(fields, "hysteresis", 0, 1),
        dwell_seconds=_whole(fields, "dwell_seconds", 0, 86400),
        lost_after_seconds=_whole(fields, "lost_after_seconds", 1, 86400),
        load=_load(fields["load"]),
    )


def _table(value: Any) -> tuple[ModeFigures, ...]:
    needed = ("mode", "watts", "capacity_qps")
    rows = [_fields(f"policy.table[{n}]", row, needed, ("watts_idle",)) for n, row in enumerate(_list("table", value))]
    table = tuple(_figures(row) for row in rows)
    names = [row.mode for row in table]
    if len(set(names)) != len(names):
        raise RefusedState("policy.table names a mode twice: {}".format(", ".join(names)))
    return table


def _figures(row: Mapping[str, Any]) -> ModeFigures:
    watts, idle = _number(row, "watts", 0.1, 1000), None
    if row.get("watts_idle") is not None:
        idle = _number(row, "watts_idle", 0.1, watts)
    return ModeFigures(_text(row, "mode"), watts, _number(row, "capacity_qps", 0.001, 1e12), idle)


def _load(value: Any) -> LoadSource:
    for kind, query in LOADS:
        if isinstance(value, dict) and kind in value:
            fields = _fields("policy.load", value, (kind, query))
            return LoadSource(kind, _text(fields, kind), _text(fields, query))
    raise RefusedState(f"policy.load is {value!r}: give prometheus and query, or file and metric")


def _fields(what: str, value: Any, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedState("{} is {!r}: it must be an object with {}".format(what, value, ", ".join(needed)))
    missing = [name for name in needed if name not in value]
    unknown = sorted(str(name) for name in value if name not in needed + optional)
    if missing or unknown:
        raise RefusedState(f"{what} lacks {_names(missing)} and has unknown {_names(unknown)}")
    return value


def _names(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RefusedState(f"{name} is {value!r}: it must be a list with at least one entry")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    # A lone surrogate, which JSON can write, is in no address and no file name.
    if not isinstance(value, str) or not value.strip() or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise RefusedState(f"{name} is {value!r}: it must be a text")
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise RefusedState(f"{name} is {value!r}: it must be true or false")
    return value


def _whole(fields: Mapping[str, Any], name: str, low: int, high: int) -> int:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RefusedState(f"{name} is {value!r}: it must be a whole number from {low} to {high}")
    return value


def _number(fields: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = fields[name]
    # Compared only: a whole number of any length has no float, and NaN is in no range.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise RefusedState(f"{name} is {value!r}: it must be a number from {low:g} to {high:g}")
    return float(value)
