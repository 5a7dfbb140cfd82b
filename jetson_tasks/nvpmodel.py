"""nvpmodel.conf: the power modes of a board, by name. Pure: text in, modes out.

The file has three kinds of blocks, each begun by a header line: ``< PARAM TYPE=FILE|CLOCK NAME=n >`` names the kernel
files of a parameter, ``< POWER_MODEL ID=n NAME=s >`` gives a mode's values for them, ``< PM_CONFIG DEFAULT=n >`` the
mode of the first boot. Ids and their order differ between boards and releases, so a mode is known by its name alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Mapping, Tuple

HEADER = re.compile(r"^<\s+(?P<kind>\w+)(?P<attributes>(\s+\w+=\S+)*)\s+>$")
KINDS = {
    "PARAM": ("NAME", "TYPE"),
    "POWER_MODEL": ("ID", "NAME"),
    "PM_CONFIG": ("DEFAULT",),
    "FAN_CONFIG": ("DEFAULT",),
}
TYPES = ("FILE", "CLOCK")
# Cores and GPU partitions are switched on and off at boot only: `nvpmodel` asks for a reboot when these differ.
REBOOT_PARAM, REBOOT_ARGUMENT = "CPU_ONLINE", "PG_MASK"
ANSWER = re.compile(r"^NV Power Mode:\s*(?P<name>\S+)\s*\n\s*(?P<id>[0-9]{1,9})\s*$", re.MULTILINE)

Setting = Tuple[str, str]  # parameter and argument: ("CPU_ONLINE", "CORE_4")


class ConfError(ValueError):
    """nvpmodel.conf, or an answer of nvpmodel, can't be understood; the message names the line and what is wrong."""


@dataclass(frozen=True)
class Mode:
    """One power mode; ``settings`` holds its values as they are written, ``line`` is where it begins."""

    id: int
    name: str
    line: int
    settings: Mapping[Setting, str] = field(default_factory=dict)

    def at_boot(self) -> dict[Setting, str]:
        """The values that only a boot can change."""
        return {key: value for key, value in self.settings.items() if _is_set_at_boot(key)}


@dataclass(frozen=True)
class Conf:
    """The modes of a board by name, in the file's order, and the name of the one after a first boot."""

    modes: Mapping[str, Mode]
    default: str

    def mode(self, name: str) -> Mode:
        """The mode of that name. Raises ConfError that lists the modes there are."""
        if name not in self.modes:
            raise ConfError("mode {} is not in nvpmodel.conf: the modes are {}".format(name, ", ".join(self.modes)))
        return self.modes[name]

    def boot_differences(self, one: str, other: str) -> list[str]:
        """What a switch from ``one`` to ``other`` needs a reboot for: "CPU_ONLINE CORE_4 1 -> 0", ...

        A value that one of the modes doesn't give is unknown after the switch, and differs from every other.
        """
        before, after = self.mode(one).at_boot(), self.mode(other).at_boot()
        keys = list(before) + [key for key in after if key not in before]
        return [
            "{} {} {} -> {}".format(key[0], key[1], before.get(key, "unset"), after.get(key, "unset"))
            for key in keys
            if before.get(key) != after.get(key)
        ]

    def needs_reboot(self, one: str, other: str) -> bool:
        """Whether the device has to boot between the two modes."""
        return bool(self.boot_differences(one, other))

    def reboot_modes(self, current: str) -> list[str]:
        """The modes that can't be reached from ``current`` without a reboot."""
        return [name for name in self.modes if self.needs_reboot(current, name)]


def parse(text: str) -> Conf:
    """The modes of an nvpmodel.conf. Raises ConfError with the number of the first line that is wrong."""
    reader = _Reader()
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if line:
            reader.read(number, line)
    return reader.conf()


def names_mode(text: str) -> bool:
    """Whether an answer of ``nvpmodel -q`` names a mode: early in a boot it may say nothing and call it a success."""
    return bool(ANSWER.search(text))


def answered(text: str, conf: Conf) -> str:
    """The name of the mode in an answer of ``nvpmodel -q``. Raises ConfError.

    The answer has the name and, in the line below, the id; on some boards a line about the fan stands before them.
    """
    found = ANSWER.search(text)
    if not found:
        raise ConfError(f"nvpmodel -q answered {text.strip()[:200]!r}, which names no power mode")
    name, number = found.group("name"), int(found.group("id"))
    known = conf.modes.get(name)
    if known is None or known.id != number:
        raise ConfError(f"nvpmodel -q answered mode {name} with id {number}, which nvpmodel.conf doesn't have")
    return name


def _is_set_at_boot(key: Setting) -> bool:
    return key[0] == REBOOT_PARAM or key[1].endswith(REBOOT_ARGUMENT)


class _Reader:
    """Reads line by line; the block that is being read is the last one begun."""

    def __init__(self) -> None:
        self.types: dict[str, str] = {}
        self.modes: dict[str, Mode] = {}
        self.default: tuple[int, int] | None = None  # id and line
        self.param: str | None = None
        self.settings: dict[Setting, str] | None = None

    def read(self, number: int, line: str) -> None:
        if line.startswith("<"):
            self._begin(number, line)
        elif self.settings is not None:
            self._set(number, line)
        elif self.param is None:
            raise ConfError(f"line {number}: {line!r} stands in no block")
        elif len(line.split()) != 2:
            raise ConfError(f"line {number}: {line!r} must be an argument and a path")

    def _begin(self, number: int, line: str) -> None:
        kind, values = _header(number, line)
        self.param, self.settings = None, None
        if kind == "PARAM":
            self._begin_param(number, values["TYPE"], values["NAME"])
        elif kind == "POWER_MODEL":
            self._begin_mode(number, _whole(number, "ID", values["ID"]), values["NAME"])
        elif kind == "PM_CONFIG":
            self._default(number, _whole(number, "DEFAULT", values["DEFAULT"]))
        else:
            self.param = kind  # the fan's settings follow: nothing of ours

    def _begin_param(self, number: int, kind: str, name: str) -> None:
        if kind not in TYPES:
            raise ConfError(f"line {number}: TYPE={kind} is neither FILE nor CLOCK")
        if name in self.types:
            raise ConfError(f"line {number}: PARAM {name} is there twice")
        self.types[name] = kind
        self.param = name

    def _begin_mode(self, number: int, mode_id: int, name: str) -> None:
        for other in self.modes.values():
            if other.id == mode_id or other.name == name:
                what = f"id {mode_id}" if other.id == mode_id else f"name {name}"
                raise ConfError(f"line {number}: POWER_MODEL {what} is already taken in line {other.line}")
        self.settings = {}
        self.modes[name] = Mode(mode_id, name, number, self.settings)

    def _default(self, number: int, mode_id: int) -> None:
        if self.default is not None:
            raise ConfError(f"line {number}: PM_CONFIG is already there in line {self.default[1]}")
        self.default = (mode_id, number)

    def _set(self, number: int, line: str) -> None:
        parts = line.split()
        if len(parts) != 3:
            raise ConfError(f"line {number}: {line!r} must be a parameter, an argument and a value")
        param, argument, value = parts
        if param not in self.types:
            raise ConfError(f"line {number}: parameter {param} has no PARAM block above")
        if self.types[param] == "CLOCK" and not re.match(r"^-?[0-9]+$", value):
            raise ConfError(f"line {number}: {param} {argument} is a clock: {value!r} is no whole number")
        settings = self.settings
        if settings is None or (param, argument) in settings:
            raise ConfError(f"line {number}: {param} {argument} is set twice in one mode")
        settings[param, argument] = value

    def conf(self) -> Conf:
        if not self.modes:
            raise ConfError("there is no POWER_MODEL")
        if self.default is None:
            raise ConfError("PM_CONFIG is missing: it gives the mode of the first boot")
        for mode in self.modes.values():
            if mode.id == self.default[0]:
                return Conf(self.modes, mode.name)
        raise ConfError(f"line {self.default[1]}: PM_CONFIG DEFAULT={self.default[0]} is no mode")


def _header(number: int, line: str) -> tuple[str, dict[str, str]]:
    """A header's kind and attributes, which stand in any order."""
    found = HEADER.match(line)
    kind = found.group("kind") if found else ""
    if not found or kind not in KINDS:
        raise ConfError(f"line {number}: {line!r} is no header of {', '.join(KINDS)}")
    pairs = [part.split("=", 1) for part in found.group("attributes").split()]
    values = dict(pairs)
    if tuple(sorted(key for key, _ in pairs)) != KINDS[kind]:
        raise ConfError(f"line {number}: {kind} needs {' and '.join(KINDS[kind])}, each once")
    return kind, values


def _whole(number: int, name: str, value: str) -> int:
    if not re.match(r"^[0-9]{1,9}$", value):  # no other digits, and no more than int() takes
        raise ConfError(f"line {number}: {name}={value} is no whole number")
    return int(value)
