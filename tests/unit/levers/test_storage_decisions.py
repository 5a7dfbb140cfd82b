"""Which storage class pays: prices, sizes, minimum durations, reading back. Exact values by hand."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from include.levers.price_tables import parse_table, price_table
from include.levers.storage_tiering.bucket import deleted_at, others_of
from include.levers.storage_tiering.choices import choices, in_words, kept, money, months, rules_for
from include.levers.storage_tiering.decide import (
    CLASSES,
    STANDARD,
    Terms,
    copy_back,
    month_of,
    offers,
    pays_from,
    prices_of,
    reading_month,
    storage_month,
    total,
)
from include.levers.storage_tiering.lifecycle import prefix_of
from include.levers.storage_tiering.settings import StorageSettings
from include.prices import PriceBookError
from include.rollout.lever import Refused

PRICES = prices_of(price_table("aws_s3.csv"), "us-east-1")
STD = PRICES[STANDARD]
GB = 2**30
YEAR = Terms(304, Decimal("0"))  # ten months, nothing read
NOW = 1_800_000_000.0


def rounded(usd: Decimal, places: str = "0.000001") -> Decimal:
    return usd.quantize(Decimal(places))


def test_ten_gigabytes_cost_in_each_class_what_the_table_says() -> None:
    ten = [(10 * GB, 1)]
    assert storage_month(ten, STD, STD) == Decimal("0.230")
    assert storage_month(ten, PRICES["STANDARD_IA"], STD) == Decimal("0.1250")
    assert storage_month(ten, PRICES["GLACIER_IR"], STD) == Decimal("0.040")
    # 32 KB more in the class, 8 KB in STANDARD: 0.036 + 32768/2^30 x 0.0036 + 8192/2^30 x 0.023
    assert rounded(storage_month(ten, PRICES["GLACIER"], STD), "0.00000001") == Decimal("0.03600029")
    assert rounded(storage_month(ten, PRICES["DEEP_ARCHIVE"], STD), "0.00000001") == Decimal("0.00990021")


def test_an_object_of_a_kilobyte_is_billed_as_128_in_infrequent_access() -> None:
    assert storage_month([(1024, 1000)], PRICES["STANDARD_IA"], STD) == 1000 * 131072 * Decimal("0.0125") / GB
    assert storage_month([(1024, 1000)], STD, STD) == 1000 * 1024 * Decimal("0.023") / GB


def test_a_tenth_that_is_read_a_month_costs_bytes_and_requests() -> None:
    terms = Terms(304, Decimal("0.1"))
    assert reading_month([(10 * GB, 2)], PRICES["GLACIER_IR"], terms) == Decimal("0.1") * (
        20 * Decimal("0.03") + 2 * Decimal("0.00001")
    )


def test_over_ten_months_ten_gigabytes_cost_storage_and_one_transition() -> None:
    ten = [(10 * GB, 1)]
    assert total(ten, STD, STD, YEAR) == Decimal("2.30")
    assert total(ten, PRICES["GLACIER_IR"], STD, YEAR) == Decimal("0.40") + Decimal("0.00002")


def test_what_is_kept_for_a_month_pays_for_the_minimum_of_three_or_six() -> None:
    month, ten = Terms(30, Decimal(0)), [(10 * GB, 1)]
    three = Decimal("0.04") * 90 / Decimal("30.4") + Decimal("0.00002")
    assert rounded(total(ten, PRICES["GLACIER_IR"], STD, month)) == rounded(three)
    assert [one.storage_class for one in offers(ten, PRICES, month, 12)] == [
        "DEEP_ARCHIVE", "GLACIER", "GLACIER_IR", "STANDARD_IA",
    ]  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("days", [30, 365, 3650])
def test_the_smallest_object_that_pays_is_exact(name: str, days: int) -> None:
    terms = Terms(days, Decimal("0.01"))
    limit = pays_from(PRICES[name], STD, terms)
    assert limit is not None

    def saved(size: int) -> Decimal:
        return total([(size, 1)], STD, STD, terms) - total([(size, 1)], PRICES[name], STD, terms)

    assert saved(limit) > 0 >= saved(limit - 1)


def test_the_smallest_objects_that_pay_over_a_year() -> None:
    year = Terms(365, Decimal("0.01"))
    limits = {name: pays_from(PRICES[name], STD, year) for name in CLASSES}
    assert limits == {"STANDARD_IA": 110880, "GLACIER_IR": 106430, "GLACIER": 182479, "DEEP_ARCHIVE": 264181}


def test_nothing_pays_that_is_read_all_the_time_or_deleted_tomorrow() -> None:
    assert pays_from(PRICES["GLACIER_IR"], STD, Terms(365, Decimal(1))) is None  # 0.03 a GB against 0.019 saved
    assert pays_from(PRICES["GLACIER_IR"], STD, Terms(0, Decimal(0))) is None
    (worst,) = offers([(10 * GB, 1)], {**PRICES}, Terms(0, Decimal(0)), 0)[1:]
    assert (worst.storage_class, rounded(worst.saved)) == ("STANDARD_IA", Decimal("-0.123365"))


def test_an_offer_moves_the_large_objects_and_leaves_the_small_ones() -> None:
    sizes = [(3000, 2), (2_400_000, 1), (83_333_333_333, 1)]
    best, *others = offers(sizes, PRICES, Terms(365, Decimal("0.01")), 12)
    assert (best.storage_class, best.objects, best.bytes, best.from_bytes) == (
        "DEEP_ARCHIVE", 2, 83_335_733_333, 264181,
    )  # fmt: skip
    assert [rounded(one.saved, "0.01") for one in (best, *others)] == [
        Decimal("20.32"), Decimal("17.98"), Decimal("17.43"), Decimal("9.69"),
    ]  # fmt: skip
    assert (rounded(best.before_month, "0.0001"), rounded(best.after_month, "0.0001"), best.once) == (
        Decimal("1.7851"), Decimal("0.0924"), Decimal("0.0001"),
    )  # fmt: skip


def test_what_must_be_readable_at_once_has_two_classes_to_go_to() -> None:
    found = [one.storage_class for one in offers([(10 * GB, 1)], PRICES, YEAR, 0)]
    assert found == ["GLACIER_IR", "STANDARD_IA"]
    assert "DEEP_ARCHIVE" not in [one.storage_class for one in offers([(10 * GB, 1)], PRICES, YEAR, 11)]


def test_small_objects_alone_are_shown_with_what_they_would_lose() -> None:
    found = offers([(100_000, 5)], PRICES, Terms(365, Decimal("0.01")), 12)
    assert {one.storage_class for one in found} == {*CLASSES}
    assert all(one.saved < 0 for one in found)
    assert found[0].objects == 5


def test_copying_back_costs_reading_a_request_and_at_most_the_minimum_duration() -> None:
    once, rest = copy_back([(10 * GB, 2)], PRICES["GLACIER_IR"], STD)
    assert once == Decimal("0.60") + 2 * Decimal("0.000015")
    assert rounded(rest) == rounded(Decimal("0.08") * 90 / Decimal("30.4"))


def test_a_class_without_a_price_makes_the_total_unknown() -> None:
    assert month_of({"STANDARD": [(GB, 1)]}, PRICES) == Decimal("0.023")
    assert month_of({"STANDARD": [(GB, 1)], "INTELLIGENT_TIERING": [(GB, 1)]}, PRICES) is None


# The table ------------------------------------------------------------------------------------------------------------


def test_a_table_older_than_a_year_warns() -> None:
    table = price_table("aws_s3.csv")
    day = dt.datetime(2027, 11, 29, tzinfo=dt.UTC)
    assert table.warning(day.timestamp()) is None
    assert str(table.warning((day + dt.timedelta(days=1)).timestamp())).startswith(
        "the prices of aws_s3 are 366 days old (2026-11-29): read https://aws.amazon.com/s3/pricing/"
    )


def test_a_table_without_date_source_or_region_is_refused_by_name() -> None:
    with pytest.raises(PriceBookError, match=r"^t\.csv: no line '# date: YYYY-MM-DD' that can be read: add it"):
        parse_table("t.csv", "# source: x\na,b\n1,2\n")
    with pytest.raises(PriceBookError, match=r"^t\.csv: no line '# source: \.\.\.', or no row"):
        parse_table("t.csv", "# date: 2026-01-01\na,b\n1,2\n")
    with pytest.raises(PriceBookError, match="aws_s3 has no prices of eu-west-1, only of us-east-1: add its rows to"):
        prices_of(price_table("aws_s3.csv"), "eu-west-1")


# Versions -------------------------------------------------------------------------------------------------------------


def version(number: int, days: float, sizes: Any = None, region: str = "us-east-1") -> tuple[str, dict[str, Any]]:
    name = f"{number:06d}-0123456789ab"
    modified = dt.datetime.fromtimestamp(NOW - days * 86400, dt.UTC).isoformat()
    stored = {"STANDARD": [[10 * GB, 1]]} if sizes is None else sizes
    return f"p/models/{region}/versions/{name}/", {
        "region": region, "version": name, "modified": modified, "sizes": stored,
    }  # fmt: skip


def facts(*versions: tuple[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"versions": dict(versions), "kept": {}, "served": [], "moved_by_others": {}, "deleted_at": {}, **more}


def chosen(found: dict[str, Any], **given: Any) -> list[Any]:
    return choices(found, PRICES, StorageSettings(**given), Decimal("0.01"), NOW)


def test_the_champion_and_the_last_three_of_each_region_stay_and_so_does_what_is_named() -> None:
    versions = dict(version(number, 300) for number in range(1, 8)) | dict([version(1, 300, region="eu-central-1")])
    settings = StorageSettings(models_also_keep=("000003-0123456789ab",))
    why = kept(versions, {"us-east-1": "000002-0123456789ab"}, settings)
    assert [(prefix.split("/")[2], prefix[-20:-14], reason) for prefix, reason in why.items()] == [
        ("us-east-1", "000002", "champion"),
        ("us-east-1", "000003", "named in models_also_keep"),
        ("us-east-1", "000005", "one of the last 3"),
        ("us-east-1", "000006", "one of the last 3"),
        ("us-east-1", "000007", "one of the last 3"),
        ("eu-central-1", "000001", "one of the last 3"),
    ]
    with pytest.raises(Refused, match="models_also_keep: 000009-0123456789ab is no version in the bucket: correct"):
        kept(versions, {}, StorageSettings(models_also_keep=("000009-0123456789ab",)))


def test_a_version_moves_at_thirty_days_not_before() -> None:
    assert [one.age_days for one in chosen(facts(version(1, 30), version(2, 29.9)))] == [30]
    assert chosen(facts(version(1, 30)), models_older_than_days=31) == []


def test_what_others_move_or_somebody_has_moved_already_is_left_alone() -> None:
    prefix, one = version(1, 100)
    assert chosen(facts((prefix, one), moved_by_others={prefix: "theirs"})) == []
    assert chosen(facts(version(1, 100, {"DEEP_ARCHIVE": [[GB, 1]]}))) == []
    assert chosen(facts(version(1, 100, {"STANDARD": [[GB, 1]], "INTELLIGENT_TIERING": [[GB, 1]]}))) == []


def test_a_rule_that_would_take_warmer_objects_along_is_not_made() -> None:
    half = version(1, 100, {"STANDARD": [[GB, 1]], "STANDARD_IA": [[GB, 1]]})
    (only,) = chosen(facts(half))
    assert [one.storage_class for one in only.offers] == ["STANDARD_IA"]
    (rest,) = chosen(facts(version(1, 100, {"STANDARD": [[GB, 1]], "DEEP_ARCHIVE": [[GB, 1]]})))
    assert rest.best.storage_class == "DEEP_ARCHIVE"  # what our own rule has begun


def test_what_others_delete_soon_is_paid_for_only_until_then() -> None:
    prefix, one = version(1, 100)
    end = dt.datetime.fromtimestamp(NOW + 10 * 86400, dt.UTC).isoformat()
    (soon,) = chosen(facts((prefix, one), deleted_at={prefix: end}))
    assert (soon.remaining_days, soon.pays) == (10, True)
    gone = dt.datetime.fromtimestamp(NOW - 86400, dt.UTC).isoformat()
    (refused,) = chosen(facts((prefix, one), deleted_at={prefix: gone}))
    assert (refused.remaining_days, refused.pays) == (0, False)
    assert rules_for([refused], 30) == {}
    assert list(in_words([refused])) == [
        f"{prefix} stays, every class loses money in its last 0 days: DEEP_ARCHIVE $0.06; GLACIER $0.11; "
        "GLACIER_IR $0.12; STANDARD_IA $0.12"
    ]


def test_a_version_that_was_champion_once_goes_where_it_can_be_read_at_once() -> None:
    (prefix, one), other = version(1, 100), version(2, 100)
    served, never = chosen(facts((prefix, one), other, served=[prefix]))
    assert (served.best.storage_class, never.best.storage_class) == ("GLACIER_IR", "DEEP_ARCHIVE")
    assert list(in_words([served])) == [
        "us-east-1: 1 version to GLACIER_IR: 1 object, 10.74 GB, $0.23 -> $0.04 a month, once $0.00002 (paid back "
        "within a day), $2.25 saved while it is kept",
        f"{prefix} (100 days old) to GLACIER_IR: 1 object, 10.74 GB, $0.23 -> $0.04 a month, once $0.00002 (paid back "
        "within a day), $2.25 saved while it is kept",
    ]


def test_dollars_of_all_versions_before_and_after() -> None:
    found = facts(version(1, 100), version(2, 5))
    assert months(found["versions"], chosen(found), PRICES) == (Decimal("0.460"), Decimal("0.242"))
    unknown = facts(version(1, 100), version(2, 5, {"EXPRESS_ONEZONE": [[GB, 1]]}))
    assert months(unknown["versions"], [], PRICES) == (None, None)


def test_money_shows_two_digits_that_count() -> None:
    assert [money(Decimal(text)) for text in ("1234.5", "0.01", "0.00012345", "0", "-3")] == [
        "1,234.50", "0.01", "0.00012", "0.00", "-3.00",
    ]  # fmt: skip


WRITTEN = "2026-11-01T00:00:00+00:00"
LATER = dt.datetime(2026, 12, 24, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("expirations", "end"),
    [
        ([], None),
        ([{"Days": 90}, {"Days": 30}, {"Date": LATER}], "2026-12-01T00:00:00+00:00"),
        ([{"Date": LATER}, {"ExpiredObjectDeleteMarker": True}, None], "2026-12-24T00:00:00+00:00"),
        ([{"Days": 2**31 - 1}, {"Days": 90}], "2027-01-30T00:00:00+00:00"),
        ([{"ExpiredObjectDeleteMarker": True}], None),
    ],
)
def test_the_first_of_others_rules_says_when_an_object_is_deleted(expirations: list[Any], end: str | None) -> None:
    assert deleted_at([{"Expiration": expiration} for expiration in expirations], WRITTEN) == end


def test_an_expiration_that_no_calendar_reaches_is_later_than_all_that_is_counted() -> None:
    end = deleted_at([{"Expiration": {"Days": 2**31 - 1}}], WRITTEN)
    assert end is not None
    assert end > "2200"


@pytest.mark.parametrize(
    ("where", "prefix"),
    [
        ({"Prefix": "models/us/"}, "models/us/"),  # as rules said it before there were filters
        ({"Filter": {"Prefix": "models/us/"}}, "models/us/"),
        ({"Filter": {"And": {"Prefix": "models/", "Tags": [{"Key": "a", "Value": "b"}]}}}, "models/"),
        ({"Filter": {"And": {"ObjectSizeGreaterThan": 1, "ObjectSizeLessThan": 9}}}, ""),
        ({"Filter": {"Tag": {"Key": "a", "Value": "b"}}}, ""),
        ({"Filter": {}}, ""),
        ({"Prefix": ""}, ""),
        ({}, ""),
    ],
)
def test_a_rule_says_its_prefix_in_one_of_four_places_or_is_for_every_object(
    where: dict[str, Any], prefix: str
) -> None:
    theirs = {"ID": "theirs", "Status": "Enabled", **where}
    assert prefix_of(theirs) == prefix
    version = "models/us/versions/000001-aaaaaaaaaaaa/"
    assert others_of({"Rules": [theirs, {**theirs, "Status": "Disabled"}]}, version) == [theirs]
    assert others_of({"Rules": [theirs]}, "logs/") == ([] if prefix else [theirs])
