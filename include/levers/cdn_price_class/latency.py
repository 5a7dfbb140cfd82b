"""How far a viewer is from the edge that serves them, and what that means in milliseconds. Pure; no clock, no network.

CloudFront answers from the edge location with the lowest latency in the distribution's price class. The model takes the
nearest one (great circle) of a table of cities, and one point a country. It can't know routes, so its absolute figures
are an assumption (:data:`BASE_MS`, :data:`MS_PER_KM`); what it is used for is the DIFFERENCE that a price class makes,
on top of what probes measure (:func:`calibrated`).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

ALL, CLASS_200, CLASS_100 = PRICE_CLASSES = ("PriceClass_All", "PriceClass_200", "PriceClass_100")
FOLDER = Path(__file__).parent
EARTH_KM = 6371.0
# ASSUMPTION: 10 ms at the 95th percentile between a viewer and an edge in the same city (access network and server).
BASE_MS = 10.0
# ASSUMPTION: a round trip in fibre takes 0.01 ms a km of cable (200 km in a ms, there and back), and cables are half as
# long again as the great circle. One round trip: connections are kept open.
MS_PER_KM = 0.015

NORTH_AMERICA, EUROPE, MIDDLE_EAST_AFRICA = "north_america", "europe", "middle_east_africa"
SOUTH_AMERICA, JAPAN, AUSTRALIA = "south_america", "japan", "australia"
ASIA_PACIFIC, INDIA = "asia_pacific", "india"
PRICE_REGIONS = (NORTH_AMERICA, EUROPE, MIDDLE_EAST_AFRICA, SOUTH_AMERICA, JAPAN, AUSTRALIA, ASIA_PACIFIC, INDIA)
# Price regions of each class (aws.amazon.com/cloudfront/pricing, 2026-11-29). Israel is priced as Europe.
CLASS_REGIONS: Mapping[str, frozenset[str]] = {
    CLASS_100: frozenset({NORTH_AMERICA, EUROPE}),
    CLASS_200: frozenset(PRICE_REGIONS) - {SOUTH_AMERICA, AUSTRALIA},
    ALL: frozenset(PRICE_REGIONS),
}
# Priced as Europe, but not in class 100: AWS's CDK 2.275 names Türkiye among what class 200 adds.
NOT_IN_100 = frozenset({"TR"})


class EdgeTableError(ValueError):
    """A table of edge cities can't be used; the message names the file, the line and the remedy."""


class UnknownCountryError(ValueError):
    """A country code that is no ISO 3166-1 code; the message names it."""


Point = tuple[float, float]  # degrees north and east


class Edge(NamedTuple):
    """A city with edge locations."""

    code: str
    at: Point
    country: str
    price_region: str = ""


class Country(NamedTuple):
    """Where a country's viewers are taken to be; ``part`` of the world: us, eu, apac, india, south_america, ..."""

    code: str
    at: Point
    part: str = ""


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    text = path.read_text(encoding="utf-8-sig").splitlines()
    reader = csv.DictReader(line for line in text if not line.startswith("#"))
    first = sum(line.startswith("#") for line in text) + 2
    return [(number, row) for number, row in enumerate(reader, first)]


@cache
def countries() -> Mapping[str, Country]:
    """Every country by its ISO 3166-1 code."""
    rows = [row for _, row in _rows(FOLDER / "countries.csv")]
    return {row["code"]: Country(row["code"], _point(row), row["part"]) for row in rows}


def _point(row: Mapping[str, str]) -> Point:
    return float(row["latitude"]), float(row["longitude"])


def country(code: str) -> Country:
    """The country of an ISO code in either case. Raises UnknownCountryError."""
    try:
        return countries()[code.upper()]
    except KeyError:
        raise UnknownCountryError(f"country {code!r} is no ISO 3166-1 code of two letters") from None


@lru_cache(maxsize=4)
def edges(path: Path | None = None) -> tuple[Edge, ...]:
    """The cities of a table, or of our own. Raises EdgeTableError with the line of a row that can't be used.

    The columns are those of ours, or ``code, city, country_code, latitude, longitude, pricing_region`` with AWS's names
    of the regions. A row that contradicts itself (a city of Venezuela priced as Europe) and mainland China, which is
    another service, are left out.
    """
    path = path or FOLDER / "edges.csv"
    try:
        found = [_edge(path, number, row) for number, row in _rows(path)]
    except OSError as error:
        raise EdgeTableError(f"{path}: {error.strerror}: give a table of edge cities that can be read") from error
    kept = tuple(edge for edge in found if edge is not None)
    if not kept:
        raise EdgeTableError(f"{path}: no edge city in it: give a table with code, city, country, coordinates, region")
    return kept


def _edge(path: Path, number: int, row: Mapping[str, str]) -> Edge | None:
    try:
        ours = "price_region" in row
        code, iso = row["code"], row["country" if ours else "country_code"]
        at, named = _point(row), row["price_region" if ours else "pricing_region"]
    except (KeyError, TypeError, ValueError) as error:
        raise EdgeTableError(f"{path.name} line {number}: {type(error).__name__} {error}: correct the row") from error
    iso = "HK" if code == "HKG" else iso
    expected = _region_of(iso)
    is_other = named not in ("", expected) and _regions("aws_name").get(named, named) != expected and iso != "HK"
    return None if expected is None or is_other else Edge(code, at, iso, expected)


_BY_COUNTRY = {"JP": JAPAN, "AU": AUSTRALIA, "NZ": AUSTRALIA, "IL": EUROPE, "CN": None}


@cache
def _regions(column: str) -> Mapping[str, str]:
    """Price region by AWS's name of it (``aws_name``), or by the part of the world that an edge is in (``part``)."""
    return {row[column]: row["region"] for _, row in _rows(FOLDER / "price_regions.csv") if row[column]}


def _region_of(iso: str) -> str | None:
    """The price region of an edge in a country; None for mainland China."""
    return _BY_COUNTRY[iso] if iso in _BY_COUNTRY else _regions("part")[country(iso).part]


def allowed(every: Iterable[Edge], price_class: str) -> list[Edge]:
    """The edges that a price class has."""
    regions = CLASS_REGIONS[price_class]
    barred = NOT_IN_100 if price_class == CLASS_100 else frozenset[str]()
    return [edge for edge in every if edge.price_region in regions and edge.country not in barred]


def km_between(start: Point, end: Point) -> float:
    """Great-circle distance of two points, in km (haversine)."""
    one, two, turn = math.radians(start[0]), math.radians(end[0]), math.radians(end[1] - start[1])
    chord = math.sin((two - one) / 2) ** 2 + math.cos(one) * math.cos(two) * math.sin(turn / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, chord)))


@dataclass(frozen=True)
class Served:
    """Who serves a country's viewers in a price class: the nearest edge that is allowed, and how far it is."""

    edge: Edge
    km: float = 0.0

    @property
    def p95_ms(self) -> float:
        """What the model says, without any measurement."""
        return BASE_MS + self.km * MS_PER_KM


@cache
def _served(code: str, price_class: str, every: tuple[Edge, ...]) -> Served:
    at = country(code).at
    found = [(km_between(at, edge.at), edge) for edge in allowed(every, price_class)]
    km, edge = min(found, key=lambda pair: (pair[0], pair[1].code))
    return Served(edge, km)


def served(code: str, price_class: str, every: Sequence[Edge] | None = None) -> Served:
    """Who serves a country in a price class. Raises UnknownCountryError."""
    return _served(code.upper(), price_class, edges() if every is None else tuple(every))


def p95_ms(code: str, price_class: str, every: Sequence[Edge] | None = None) -> float:
    """P95 in ms of a country's viewers in a price class, as the model has it without any measurement."""
    return served(code, price_class, every).p95_ms


def calibrated(
    code: str,
    price_class: str,
    now: str,
    measured: Mapping[str, float],
    every: Sequence[Edge] | None = None,
) -> float:
    """P95 in ms in ``price_class``: what was measured in the class of ``now``, and the model's difference.

    ``measured`` is P95 in ms by country code, or by part of the world for countries without a probe of their own. Where
    neither was measured the model stands alone.
    """
    known = measured.get(code.upper(), measured.get(country(code).part))
    then, before = served(code, price_class, every), served(code, now, every)
    return then.p95_ms if known is None else max(0.0, known + (then.km - before.km) * MS_PER_KM)
