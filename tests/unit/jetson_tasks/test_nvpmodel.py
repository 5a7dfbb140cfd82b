"""nvpmodel.conf: four boards' files, and what is refused with its line."""

from __future__ import annotations

import pytest

from jetson_tasks.nvpmodel import ConfError, answered, parse
from tests.unit.jetson_tasks.device_world import SAMPLES, conf

SMALL = """\
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_1 /sys/devices/system/cpu/cpu1/online
< PARAM TYPE=CLOCK NAME=GPU >
MAX_FREQ /sys/gpu/max_freq
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_1 1
GPU MAX_FREQ -1
< POWER_MODEL ID=1 NAME=15W >
CPU_ONLINE CORE_1 1
GPU MAX_FREQ 612000000
< PM_CONFIG DEFAULT=0 >
"""


@pytest.mark.parametrize(
    ("board", "ids", "default", "reboot_from_default"),
    [
        ("orin_nano_super", {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}, "25W", ["7W"]),
        ("orin_nx", {"MAXN_SUPER": 0, "10W": 1, "15W": 2, "25W": 3, "40W": 4}, "40W", ["10W", "15W"]),
        (
            "agx_orin",
            {"MAXN": 0, "MODE_15W": 1, "MODE_30W": 2, "MODE_50W": 3},
            "MODE_30W",
            ["MAXN", "MODE_15W", "MODE_50W"],
        ),
        ("thor", {"MAXN": 0, "120W": 1, "90W": 2, "70W": 3}, "120W", ["70W"]),
    ],
)
def test_the_modes_of_a_board(board: str, ids: dict[str, int], default: str, reboot_from_default: list[str]) -> None:
    found = conf(board)
    assert {name: mode.id for name, mode in found.modes.items()} == ids
    assert found.default == default
    assert found.reboot_modes(default) == reboot_from_default


def test_a_reboot_is_needed_for_cores_and_gpu_partitions_and_for_nothing_else() -> None:
    assert conf("orin_nano_super").boot_differences("15W", "7W") == [
        "CPU_ONLINE CORE_4 1 -> 0",
        "CPU_ONLINE CORE_5 1 -> 0",
    ]
    assert conf("orin_nx").boot_differences("15W", "10W") == ["TPC_POWER_GATING TPC_PG_MASK 240 -> 252"]
    assert not conf("orin_nano_super").needs_reboot("15W", "MAXN_SUPER")


def test_a_value_that_only_one_mode_gives_needs_a_reboot() -> None:
    text = SMALL.replace("CPU_ONLINE CORE_1 1\nGPU MAX_FREQ 612000000", "GPU MAX_FREQ 612000000")
    assert parse(text).boot_differences("MAXN", "15W") == ["CPU_ONLINE CORE_1 1 -> unset"]


@pytest.mark.parametrize("board", sorted(SAMPLES))
def test_lines_that_end_as_on_windows_are_read_the_same(board: str) -> None:
    text = SAMPLES[board].read_text(encoding="utf-8")
    assert parse(text.replace("\n", "\r\n")) == parse(text)


def test_attributes_stand_in_any_order_and_comments_anywhere() -> None:
    turned = SMALL.replace("ID=1 NAME=15W", "NAME=15W ID=1").replace(
        "TYPE=FILE NAME=CPU_ONLINE", "NAME=CPU_ONLINE TYPE=FILE"
    )
    commented = turned.replace("CORE_1 1\n", "CORE_1 1 # on\n# a comment\n\n")
    assert parse(commented).modes["15W"].settings == parse(SMALL).modes["15W"].settings


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ID=1 NAME=15W", "ID=0 NAME=15W", "line 8: POWER_MODEL id 0 is already taken in line 5"),
        ("ID=1 NAME=15W", "ID=1 NAME=MAXN", "line 8: POWER_MODEL name MAXN is already taken in line 5"),
        ("NAME=GPU >", "NAME=CPU_ONLINE >", "line 3: PARAM CPU_ONLINE is there twice"),
        ("TYPE=CLOCK", "TYPE=VOLT", "line 3: TYPE=VOLT is neither FILE nor CLOCK"),
        ("MAX_FREQ 612000000", "MAX_FREQ fast", "line 10: GPU MAX_FREQ is a clock: 'fast' is no whole number"),
        ("GPU MAX_FREQ 6", "FAN MAX_FREQ 6", "line 10: parameter FAN has no PARAM block above"),
        (
            "GPU MAX_FREQ 612000000",
            "GPU 612000000",
            "line 10: 'GPU 612000000' must be a parameter, an argument and a value",
        ),
        ("GPU MAX_FREQ 612000000", "CPU_ONLINE CORE_1 0", "line 10: CPU_ONLINE CORE_1 is set twice in one mode"),
        ("ID=1", "ID=one", "line 8: ID=one is no whole number"),
        ("ID=1", "ID=\u00b2", "line 8: ID=\u00b2 is no whole number"),
        ("ID=1", "ID=\u0661", "line 8: ID=\u0661 is no whole number"),
        ("ID=1", "ID=1234567890", "line 8: ID=1234567890 is no whole number"),
        ("ID=1", "ID=-1", "line 8: ID=-1 is no whole number"),
        ("DEFAULT=0", "DEFAULT=\u00b2", "line 11: DEFAULT=\u00b2 is no whole number"),
        ("MAX_FREQ 612", "MAX_FREQ \u0661", "line 10: GPU MAX_FREQ is a clock: '\u0661000000' is no whole number"),
        ("ID=1 NAME=15W", "ID=1", "line 8: POWER_MODEL needs ID and NAME, each once"),
        ("ID=1 NAME=15W", "ID=1 ID=1", "line 8: POWER_MODEL needs ID and NAME, each once"),
        ("< POWER_MODEL ID=1", "<POWER_MODEL ID=1", "is no header of PARAM, POWER_MODEL, PM_CONFIG, FAN_CONFIG"),
        ("DEFAULT=0", "DEFAULT=7", "line 11: PM_CONFIG DEFAULT=7 is no mode"),
        ("< PM_CONFIG DEFAULT=0 >\n", "", "PM_CONFIG is missing: it gives the mode of the first boot"),
        (
            "< PM_CONFIG DEFAULT=0 >\n",
            "< PM_CONFIG DEFAULT=0 >\n" * 2,
            "line 12: PM_CONFIG is already there in line 11",
        ),
        (SMALL, "GPU 1\n", "line 1: 'GPU 1' stands in no block"),
        (SMALL, "", "there is no POWER_MODEL"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfError) as refused:
        parse(SMALL.replace(old, new, 1))
    assert str(refused.value).endswith(message)


def test_a_mode_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfError, match=r"^mode 40W is not in nvpmodel.conf: the modes are 15W, 25W, MAXN_SUPER, 7W$"):
        conf().mode("40W")


@pytest.mark.parametrize(
    "text",
    ["NV Power Mode: 25W\n1\n", "NV Fan Mode:quiet\nNV Power Mode: 25W\n1\n", "NV Power Mode: 25W\r\n1\r\n"],
)
def test_an_answer_names_the_mode(text: str) -> None:
    assert answered(text, conf()) == "25W"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NVPM WARN: nothing", "nvpmodel -q answered 'NVPM WARN: nothing', which names no power mode"),
        ("NV Power Mode: 25W\n7\n", "nvpmodel -q answered mode 25W with id 7, which nvpmodel.conf doesn't have"),
        ("NV Power Mode: 99W\n1\n", "nvpmodel -q answered mode 99W with id 1, which nvpmodel.conf doesn't have"),
    ],
)
def test_an_answer_that_the_file_does_not_know_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfError) as refused:
        answered(text, conf())
    assert str(refused.value) == message


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert parse("\ufeff" + SMALL) == parse(SMALL)


def test_an_answer_with_an_id_of_any_length_names_no_mode() -> None:
    with pytest.raises(ConfError, match="which names no power mode"):
        answered("NV Power Mode: MAXN\n" + "9" * 5000, parse(SMALL))
