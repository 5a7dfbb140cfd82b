"""A month's saving as a report: one sentence, its arithmetic, the picture, and what doesn't count."""

from __future__ import annotations

from decimal import Decimal

from include.pages.chart import Chart
from include.pages.document import Document, Section, Tile, bullets
from include.pages.table import Table
from include.pages.texts import percent, usd, words
from include.pages.waterfall import Step, waterfall_chart
from include.planner.baseline.counterfactual import NOT_SIMULATED, Baseline
from include.planner.order import CENTRAL_DC, COST_PLATFORM

UNIT = "USD"


def document(found: Baseline) -> Document:
    """The report of a month."""
    band = "unknown" if found.band is None else f"{usd(found.band[0])} to {usd(found.band[1])}"
    error = "was never compared with a rehearsal"
    if found.error is not None:
        error = f"missed rehearsals by up to {percent(found.error)}"
    return Document(
        title=f"Saved in {found.month}, against the configuration of week 13",
        over="Counterfactual baseline",
        lead=f"USD {usd(found.saved_usd)} saved ({band})",
        more=f"the old configuration on the traffic that came ({found.book}), less the bill; the simulation {error}.",
        tiles=(
            Tile("saved", usd(found.saved_usd), UNIT),
            Tile("old configuration", usd(found.old_usd), UNIT),
            Tile("billed, clusters", usd(found.billed[CENTRAL_DC]), UNIT),
            Tile("billed, platform", usd(found.billed[COST_PLATFORM]), UNIT),
        ),
        sections=(
            Section("From the old configuration to what was paid", (_picture(found),)),
            Section("Arithmetic", (_arithmetic(found),)),
            Section("What counts, and what doesn't", (bullets(*_notes(found)), _others(found))),
        ),
    )


def _picture(found: Baseline) -> Chart:
    paid = found.billed[CENTRAL_DC] + found.billed[COST_PLATFORM]
    steps = [
        Step("clusters", float(found.billed[CENTRAL_DC] - found.old_usd), "bill less simulation"),
        Step("platform", float(found.billed[COST_PLATFORM]), "the old configuration had none"),
    ]
    return waterfall_chart(
        f"{found.month}: clusters", ("old configuration", float(found.old_usd)), steps, ("paid", float(paid)), UNIT
    )


def _arithmetic(found: Baseline) -> Table:
    rows = [
        (
            "clusters, old configuration",
            usd(found.old_usd),
            f"its node groups all month, {found.days} days, {found.book}",
        ),
        ("clusters, billed", usd(-found.billed[CENTRAL_DC]), "the bill"),
        ("cost platform, billed", usd(-found.billed[COST_PLATFORM]), "the bill; the old configuration had none"),
        ("saved", usd(found.saved_usd), "the sum"),
        (
            "clusters, predicted with every lever",
            usd(found.predicted_usd),
            "beside their bill: how good the planner is",
        ),
    ]
    return Table(("", UNIT, "from"), tuple(rows))


def _notes(found: Baseline) -> list[str]:
    lines = [
        f"{found.requests:,} requests came; in {found.overloaded_minutes:,} minutes of a region more than the old "
        "replicas could have served: the old configuration would have failed them, and is not charged for more nodes",
        "the old node groups stand at on-demand list price: what a discount would have taken off is unknown",
    ]
    others = [name for name in found.billed if name not in (CENTRAL_DC, COST_PLATFORM)]
    return [*lines, f"{', '.join(map(words, others))}: {NOT_SIMULATED}"]


def _others(found: Baseline) -> Table:
    shown = ((name, value) for name, value in found.billed.items() if name not in (CENTRAL_DC, COST_PLATFORM))
    rows = [(words(name), usd(Decimal(value)), "not simulated") for name, value in shown]
    return Table(("component", f"billed, {UNIT}", ""), tuple(rows))
