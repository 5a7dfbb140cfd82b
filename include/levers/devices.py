"""Owned things on devices: the agent, what it is asked for, its unit, and the power mode that it left behind.

The agent's own programs do all that is done; see jetson_tasks. A device that can't be reached is pending: its state is
``{"offline": True}``, it is written to by no run that did not see it before, and an undo does not end without it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.clients.devices import Device, DeviceError, OfflineError
from include.levers.fields import Object
from include.levers.owned import Holds, Report
from include.levers.world import World
from include.rollout.export import Change, Export
from include.rollout.lever import Difference, Json, NotConverged, Refused, differences
from jetson_tasks import bundle, nvpmodel, paths
from jetson_tasks.decisions import PENDING, REFUSED

KIND = "Device"
OFFLINE: Object = {"offline": True}
UNKNOWN = "not known: it was offline when the snapshot was taken"
SHOWN = 12  # hex digits of an agent's hash
COUNTERS = ("generation", "issued_at")  # of a desired state: what tells how often, not what
FLAGS = {"active": ("start", "stop"), "enabled": ("enable", "disable")}
# What a device answers to a former desired state that is past its time: it is as it would be without us.
PAST = "clock_expired"
# Early in a boot nvpmodel fails: what it reads is not there yet.
ATTEMPTS, PAUSE_SECONDS = 6, 1.0


def device_of(world: World, name: str) -> Device:
    """The client of a device. Raises Refused for one that the estate doesn't name."""
    devices: Mapping[str, Device] = world.target.clients.devices
    if name not in devices:
        raise Refused(f"{world.place}: device {name} is not in edge.power.devices of estate.yaml: add it again")
    return devices[name]


def device_named(key: str) -> str:
    """``jetson01`` of ``Device jetson01``."""
    return key.partition(" ")[2]


# What stands on a device ---------------------------------------------------------------------------------------------


def state_of(device: Device) -> Object:
    """Mode, agent, desired state and unit of a device; OFFLINE for one that can't be reached.

    Raises Refused when another device answers, or its board doesn't.
    """
    try:
        refuse_other(device)
        agent = device.read(paths.AGENT)
        desired = device.read(paths.DESIRED)
        return {
            "mode": mode_of(device),
            "agent": hashlib.sha256(agent).hexdigest() if agent is not None else None,
            "content": base64.b64encode(agent).decode("ascii") if agent is not None else None,
            "desired": _document(device, desired),
            "active": device.run("systemctl", "is-active", paths.UNIT_NAME).out.strip() == "active",
            "enabled": device.run("systemctl", "is-enabled", paths.UNIT_NAME).out.strip() == "enabled",
        }
    except OfflineError:
        return dict(OFFLINE)
    except DeviceError as error:  # such as another host key: retrying can't help
        raise Refused(str(error)) from error


def is_offline(device: Device) -> bool:
    """Whether a device can't be reached now. Raises Refused when another one answers."""
    try:
        refuse_other(device)
    except OfflineError:
        return True
    except DeviceError as error:
        raise Refused(str(error)) from error
    return False


def refuse_other(device: Device) -> None:
    """Raise Refused when the device calls itself otherwise: a connection that leads elsewhere must change nothing."""
    name = (device.read(paths.HOSTNAME) or b"").decode("utf-8", "replace").strip()
    if name != device.name:
        raise Refused(f"the connection of {device.name} leads to {name or 'a device without a name'}: correct its host")


def mode_of(device: Device) -> str:
    """The power mode by nvpmodel's own answer, asked again while it fails. Raises Refused when it has none."""
    conf = conf_of(device)
    for attempt in range(1, ATTEMPTS + 1):
        ran = device.run("sudo", "-n", "nvpmodel", "-q")
        is_answer = not ran.status and nvpmodel.names_mode(ran.out)
        if is_answer or ran.err.startswith("sudo:") or attempt == ATTEMPTS:
            break
        time.sleep(PAUSE_SECONDS)
    if ran.status:
        raise Refused(
            f"{device.name}: sudo nvpmodel -q ended with {ran.status}: {(ran.err or ran.out).strip()}: install "
            "jetson_tasks/files/akidb-power.sudoers as /etc/sudoers.d/akidb-power"
        )
    try:
        return nvpmodel.answered(ran.out, conf)
    except nvpmodel.ConfError as error:
        raise Refused(f"{device.name}: {error}") from error


def conf_of(device: Device) -> nvpmodel.Conf:
    """The modes that the device's board has. Raises Refused when they can't be read."""
    text = device.read(paths.CONF)
    try:
        return nvpmodel.parse((text or b"").decode("utf-8", "replace"))
    except nvpmodel.ConfError as error:
        raise Refused(f"{device.name}: {paths.CONF}: {error}") from error


def status_of(device: Device) -> Object | None:
    """What the agent says of the device now; None while it is offline, or its agent doesn't answer."""
    try:
        ran = device.run("python3", paths.AGENT, "status")
        found: Object = json.loads(ran.out)
    except (OfflineError, ValueError):
        return None
    return found


def _document(device: Device, text: bytes | None) -> Object | None:
    if text is None:
        return None
    try:
        found: Object = json.loads(text)
    except ValueError as error:
        raise Refused(f"{device.name}: {paths.DESIRED} is damaged ({error}): remove it, then start again") from error
    return found


def content_of(desired: Mapping[str, Any] | None, without: Sequence[str] = ()) -> Object | None:
    """A desired state without its counters, and ``without`` more of its fields."""
    if desired is None:
        return None
    return {key: value for key, value in desired.items() if key not in (*COUNTERS, *without) and value is not None}


# Writing -------------------------------------------------------------------------------------------------------------


def install_agent(world: World, device: Device, content: bytes | None = None) -> None:
    """Put the agent there: this release's, or a former one's ``content``."""
    world.target.fence()
    device.put(paths.AGENT, bundle.agent_bytes() if content is None else content)


def ask(world: World, device: Device, desired: Mapping[str, Any], forgiven: Sequence[str] = ()) -> None:
    """Write a desired state under the next generation; returns once the device is as asked, after a reboot too.

    Raises Refused with what the device refuses, NotConverged with what is wrong there, unless it is ``forgiven``.
    """
    held = _document(device, device.read(paths.DESIRED)) or {}
    counters = {"generation": int(held.get("generation", 0)) + 1, "issued_at": world.now()}
    if (desired.get("expires_at") or world.now() + 1) <= world.now():
        counters["issued_at"] = desired["issued_at"]  # nothing is issued after it has expired
    text = json.dumps({**desired, **counters})
    world.target.fence()
    ran = device.run("python3", paths.AGENT, "apply", stdin=text)
    if ran.status == REFUSED:
        raise Refused(f"{world.place}: {device.name} refuses its desired state: {ran.err.strip()}")
    error = _answer(device, ran.out)["error"]
    if ran.status == PENDING and desired.get("reboot"):
        await_mode(world, device, desired["mode"])
    elif error and error["code"] not in forgiven:
        raise NotConverged(f"{world.place}: {device.name} is not as it was asked: {error['message']}")


def _answer(device: Device, text: str) -> Object:
    try:
        found: Object = json.loads(text)
    except ValueError:
        raise NotConverged(f"{device.name}: its agent answers {text.strip()[:200]!r}, which is no status") from None
    return found


def await_mode(world: World, device: Device, mode: str) -> None:
    """Wait for a device that reboots into a mode. Raises NotConverged naming it."""

    def missing() -> list[str]:
        status = status_of(device)
        if status is None:
            return [f"{device.name} is offline: it reboots"]
        return [] if status["mode"] == mode else [f"{device.name} is in mode {status['mode']}, not {mode}"]

    world.await_cloud(missing, f"{device.name} rebooting into {mode}")


def set_unit(world: World, device: Device, flag: str, wanted: bool) -> None:
    """Start or stop, enable or disable the unit. Raises Refused with what sudo or systemd say."""
    verb = FLAGS[flag][0 if wanted else 1]
    world.target.fence()
    unit(device, verb)


def unit(device: Device, verb: str) -> None:
    """One of systemctl's verbs for the agent's unit. Raises Refused with what sudo or systemd say."""
    ran = device.run("sudo", "-n", "systemctl", verb, paths.UNIT_NAME)
    if ran.status:
        raise Refused(f"{device.name}: systemctl {verb} {paths.UNIT_NAME}: {(ran.err or ran.out).strip()}")


# The owned thing -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AskedDevice:
    """A device with the agent and what it is asked for: a desired state without counters.

    ``others`` are fields of a desired state that another job writes: they make no difference here.
    """

    name: str
    desired: Object = field(default_factory=dict)
    wanted: bool = True
    others: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """See :class:`include.levers.owned.Thing`."""
        return f"{KIND} {self.name}"

    def entry(self, world: World) -> Json:
        """See :class:`include.levers.owned.Thing`; without the mode where the agent moves it."""
        found = state_of(device_of(world, self.name))
        return {**found, "mode": None} if _moves(found) else found

    def unnamed(self, world: World) -> list[Json]:
        """See :class:`include.levers.owned.Thing`: how a device was that no snapshot names can't be known."""
        del world
        return []

    def differences(self, entry: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        if entry == OFFLINE:
            return [Difference(self.key, "offline", "pending")]
        before = {
            "agent": (entry["agent"] or "")[:SHOWN] or None,
            "active": entry["active"],
            "enabled": entry["enabled"],
        }
        after = {"agent": bundle.version()[:SHOWN], "active": True, "enabled": True}
        asked = content_of(entry["desired"], self.others) or {}
        wanted = content_of(self.desired, self.others) or {}
        return [*differences(before, after, self.key), *differences(asked, wanted, f"{self.key} desired")]

    def write(self, world: World, dry_run: bool = False) -> bool:
        """See :class:`include.levers.owned.Thing`: agent, desired state, unit. Nothing for a device that is offline."""
        device = device_of(world, self.name)
        found = OFFLINE if dry_run else state_of(device)
        if found == OFFLINE:
            return False
        is_new = found["agent"] != bundle.version()
        if is_new:
            install_agent(world, device)
        if content_of(found["desired"], self.others) != content_of(self.desired, self.others):
            ask(world, device, self.desired)
        if is_new and found["active"]:
            world.target.fence()
            unit(device, "restart")
        for flag in ("enabled", "active"):
            if not found[flag]:
                set_unit(world, device, flag, wanted=True)
        return True

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`. Raises NotConverged for a device that is offline: it is pending."""
        del held
        device = device_of(world, self.name)
        found = state_of(device)
        if found == OFFLINE:
            raise NotConverged(f"{self.key} is offline: its undo is pending until it is back")
        if was == OFFLINE:
            report += self.unrestored(world, was)
            return None
        done = [*self._unit_back(world, device, was, found, report), *_desired_back(world, device, was, found, report)]
        done += _agent_back(world, device, was, state_of(device))
        return "set back" if any(done) else None

    def export(self, world: World, was: Json) -> Export:
        """See :class:`include.levers.owned.Thing`: the file that the agent reads, for whatever keeps the device."""
        del world
        before = None if was in (None, OFFLINE) else content_of(was["desired"], self.others)
        after = content_of(self.desired, self.others)
        told = Change(f"{self.key} desired", before, after, "file", self.name, paths.DESIRED)
        return Export(changes=(told,) if before != after else ())

    def _unit_back(self, world: World, device: Device, was: Json, found: Json, report: Report) -> Iterator[bool]:
        """The agent stops before its files go; what it is set to must not be set again."""
        for flag in FLAGS:
            if found[flag] and not was[flag]:
                set_unit(world, device, flag, wanted=False)
                yield True
            elif was[flag] and not found[flag]:
                report.append(Difference(f"{self.key}.{flag}", True, False))

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        found = state_of(device_of(world, self.name))
        if found == OFFLINE:
            return [Difference(self.key, "offline", "pending")]
        if was == OFFLINE:
            return [Difference(self.key, "asked", UNKNOWN)] if found["desired"] else []
        return differences(_kept(found, was), _kept(was, was), self.key)


def _moves(found: Object) -> bool:
    """Whether the agent changes the mode by itself: what stands now is then no more than the moment's."""
    desired = found.get("desired") or {}
    return "policy" in desired or "schedule" in desired


def _kept(state: Object, was: Object) -> Object:
    """What an undo sets back, of a state."""
    kept = {"agent": state["agent"], "desired": content_of(state["desired"])}
    flags = {flag: state[flag] for flag in FLAGS}
    return {**kept, **flags, "mode": state["mode"] if was["mode"] is not None else None}


def _desired_back(world: World, device: Device, was: Object, found: Object, report: Report) -> Iterator[bool]:
    """The former desired state; where there was none, the former mode, and then none again."""
    if was["desired"] is not None:
        if content_of(found["desired"]) != content_of(was["desired"]):
            yield from _agent_back(world, device, was, found)
            ask(world, device, was["desired"], forgiven=[PAST])
            yield True
        return
    if found["desired"] is None:
        if found["mode"] != was["mode"]:
            report.append(Difference(f"{KIND} {device.name}.mode", was["mode"], found["mode"]))
        return
    if found["agent"] is None:
        install_agent(world, device)
    yield from _mode_back(world, device, was["mode"], found, report)
    world.target.fence()
    device.run("python3", paths.AGENT, "remove")
    yield True


def _mode_back(world: World, device: Device, was: str, found: Object, report: Report) -> Iterator[bool]:
    """The former mode, unless somebody has set another one by hand since the agent last looked."""
    mode = found["mode"]
    if mode == was:
        return
    remembered = _document(device, device.read(paths.STATUS)) or {}
    if mode != found["desired"].get("mode") and remembered.get("mode") not in (None, mode):
        report.append(Difference(f"{KIND} {device.name}.mode", was, mode))
        return
    ask(world, device, fixed(device.name, was))
    yield True


def fixed(name: str, mode: str) -> Object:
    """A desired state of one mode, for good; the device may reboot once to reach it."""
    return {"format": 1, "device": name, "expires_at": None, "safe_mode": mode, "mode": mode, "reboot": True}


def _agent_back(world: World, device: Device, was: Object, found: Object) -> Iterator[bool]:
    if found["agent"] == was["agent"]:
        return
    if was["content"] is None:
        world.target.fence()
        device.remove(paths.AGENT)
    else:
        install_agent(world, device, base64.b64decode(was["content"]))
        if was["active"]:
            world.target.fence()
            unit(device, "restart")
    yield True
