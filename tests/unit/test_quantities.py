"""Kubernetes quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest

from include.quantities import cores, mebibytes, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"), ("0.5", "0.5"), (".5", "0.5"), ("5.", "5"), ("+2", "2"), ("-1", "-1"),
        ("500m", "0.5"), ("7910m", "7.91"), ("250u", "0.00025"), ("1n", "0.000000001"),
        ("1500k", "1500000"), ("512M", "512000000"), ("2G", "2000000000"), ("1T", "1e12"), ("1P", "1e15"),
        ("1E", "1e18"), ("1E3", "1000"), ("2e9", "2000000000"), ("1e-3", "0.001"), ("1.5e3", "1500"),
        ("1Ki", "1024"), ("512Mi", "536870912"), ("2Gi", "2147483648"), ("1Ti", "1099511627776"),
        ("1Pi", "1125899906842624"), ("1Ei", "1152921504606846976"), ("1.5Gi", "1610612736"), (4, "4"), (0.25, "0.25"),
    ],
)  # fmt: skip
def test_a_quantity_is_read_as_kubernetes_reads_it(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "2 G", "2GB", "1K", "1ki", "Gi", "1e", "1e3M", "--1", "1.2.3", "nan", "inf", "٣"])
def test_what_is_no_quantity_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no Kubernetes quantity: write it like 500m, 0\.5, 2Gi, 2G or 2e9"):
        quantity(text)


def test_cores_and_mebibytes() -> None:
    assert [cores(text) for text in ("1", "500m", "7910m")] == [Decimal(1), Decimal("0.5"), Decimal("7.91")]
    assert [mebibytes(text) for text in ("2Gi", "1024Ki", "1048576", "1M")] == [
        Decimal(2048),
        Decimal(1),
        Decimal(1),
        Decimal("0.95367431640625"),
    ]
