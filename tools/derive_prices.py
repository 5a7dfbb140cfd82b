"""Derive ``include/price_book/aws_ec2.csv`` from the public data in ``../shared/data/ec2`` (not part of the project).

Run ``python -m tools.derive_prices --data ../shared/data/ec2``. It is kept so that anybody can see where each figure
came from; nothing else runs it. Output is sorted and free of dates of the run: the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from include.prices import AWS_BOOK_FILE, COLUMNS

REGIONS = ("us-east-1", "eu-central-1", "ap-northeast-1")
CATEGORIES = ("c", "m", "r", "t")
SIZES = ("medium", "large", "xlarge", "2xlarge", "4xlarge")
# Families that run x86 are only there to be compared with; all arm64 families of the categories are taken.
AMD64_FAMILIES = ("c6i", "c7a", "c7i", "m6i", "m7a", "m7i", "r7i", "t3", "t3a")
TYPES_FILE = "ec2_instance_types_us_east_1.csv.gz"
ADVISOR_FILE = "spot_advisor_linux_all_regions.csv.gz"
HEADER = (
    "# date: 2026-07-20",
    (
        "# source: AWS list prices, Linux on demand, us-east-1, 2026-07-20; AWS Spot Advisor (savings and interruption "
        "band by region), mid 2025"
    ),
    "# derived by: python -m tools.derive_prices (reads data/ec2 of the shared folder, see its README)",
    (
        "# columns: on_demand is USD an hour in us-east-1; <region>_savings is percent below on demand; <region>_band "
        "is 0 (< 5 % interrupted a month), 1 (5-10), 2 (10-15), 3 (15-20), 4 (> 20); empty means not known"
    ),
)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _wanted(row: Mapping[str, str]) -> bool:
    if row["category"] not in CATEGORIES or row["size"] not in SIZES or not row["on_demand_usd_hour_us_east_1"]:
        return False
    return row["arch"] == "arm64" or row["family"] in AMD64_FAMILIES


def derive(types: Iterable[Mapping[str, str]], advice: Iterable[Mapping[str, str]]) -> str:
    """The text of the price book from the rows of both source files."""
    by_region = {(row["region"], row["instance_type"]): row for row in advice if row["region"] in REGIONS}
    out = io.StringIO()
    out.write("\n".join(HEADER) + "\n")
    writer = csv.writer(out, lineterminator="\n")
    regional = [f"{region}_{kind}" for region in REGIONS for kind in ("savings", "band")]
    writer.writerow([*COLUMNS, *regional])
    for row in sorted(filter(_wanted, types), key=lambda r: r["instance_type"]):
        known = [by_region.get((region, row["instance_type"]), {}) for region in REGIONS]
        advised = [value for r in known for value in (r.get("savings_pct", ""), r.get("interruption_band", ""))]
        writer.writerow(
            [
                row["instance_type"],
                row["category"],
                row["arch"],
                row["vcpu"],
                row["memory_mib"],
                row["allocatable_cpu"],
                row["allocatable_memory_mib"],
                row["on_demand_usd_hour_us_east_1"],
                *advised,
            ]
        )
    return out.getvalue()


def main() -> None:
    """Write the price book from the folder given with ``--data``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the two source files")
    folder = parser.parse_args().data
    AWS_BOOK_FILE.write_text(derive(_rows(folder / TYPES_FILE), _rows(folder / ADVISOR_FILE)), encoding="utf-8")
    print(f"{AWS_BOOK_FILE.name}: {sum(1 for _ in AWS_BOOK_FILE.open(encoding='utf-8')) - len(HEADER) - 1} types")


if __name__ == "__main__":
    main()
