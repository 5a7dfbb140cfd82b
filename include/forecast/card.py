"""The model card: one page of HTML with pictures that says what a model is, how good it is, and what it can't do."""

from __future__ import annotations

from collections.abc import Iterable

from include.forecast.evaluation import HorizonMetrics
from include.forecast.traffic.series import window_hash
from include.forecast.training import PartResult, Tested, Trained
from include.pages.chart import Chart, line_chart
from include.pages.document import Document, Paragraph, Section, bullets, to_html
from include.pages.table import Table

SHOWN_MINUTES = 2 * 1440
LIMITS = (
    "A forecast of 15 minutes from one hour of traffic and, where they are known, yesterday and last week.",
    "It does not know announcements, deployments or anything else that traffic itself does not show.",
    "After a level shift, yesterday and last week mislead until the recent level has caught up.",
    "It may add capacity, never remove it.",
)


def model_card(trained: Trained, tested: Tested) -> str:
    """The page of the chosen model. Raises ValueError when the data was refused."""
    name, series = trained.chosen.name, trained.series
    result = tested.results[name]
    page = Document(
        title=f"{name} for {series.name}",
        over="AkiDB traffic forecast",
        lead=f"{tested.promotion.reason}.",
        head=tuple(map(Paragraph, _made_from(trained))),
        sections=(
            Section("15 minutes ahead on data it never saw", (forecast_picture(trained), _candidates_table(tested))),
            Section("By minute ahead", (horizon_picture(name, result, tested), _horizon_table(result.horizons))),
            Section("What it would have done", (Paragraph(operations_text(result)),)),
            Section("Limits", (bullets(*LIMITS),)),
        ),
    )
    return to_html(page)


def _made_from(trained: Trained) -> list[str]:
    """What it was made of, in sentences."""
    series, quality = trained.series, trained.quality
    chosen = [f"{trained.choice.reason}."] if trained.choice else []
    return [
        *chosen,
        f"Data: {series.at(0):%Y-%m-%d %H:%M} to {series.at(len(series) - 1):%Y-%m-%d %H:%M} UTC, a value every "
        f"{series.step} min, {quality.missing_share:.1%} missing, {quality.zero_share:.1%} zeros, "
        f"fingerprint {window_hash(series)}. Judged by {quality.metric.upper()}. "
        f"Trained in {trained.seconds:.0f} s.",
        f"Made of: {_made_of(trained)}.",
    ]


def _made_of(trained: Trained) -> str:
    if trained.chosen.name != "blend":
        return trained.chosen.name
    return ", ".join(f"{weight:.0%} {part}" for part, weight in trained.weights.items())


def forecast_picture(trained: Trained) -> Chart:
    """The last two days of the test part: what came, P50 and P90 a horizon before."""
    assert trained.test is not None
    windows = trained.test.take(slice(-SHOWN_MINUTES // trained.series.step, None))
    p50, p90 = trained.chosen.forecast(windows)
    hours = [float(origin - windows.origins[0]) * trained.series.step / 60 for origin in windows.origins]
    lines = {"came": windows.targets()[:, -1], "P50": p50[:, -1], "P90": p90[:, -1]}
    return line_chart("Traffic and forecast", hours, {key: list(line) for key, line in lines.items()}, "hours")


def horizon_picture(name: str, result: PartResult, tested: Tested) -> Chart:
    """WAPE by minute ahead, of the model and of the best naive."""
    naive = tested.results[tested.best_naive]
    minutes = [float(row.minutes) for row in result.horizons]
    lines = {name: wapes(result.horizons)}
    if tested.best_naive != name:
        lines[tested.best_naive] = wapes(naive.horizons)
    return line_chart("WAPE by minute ahead", minutes, lines, "minutes ahead")


def wapes(rows: Iterable[HorizonMetrics]) -> list[float]:
    """WAPE of each step; NaN where it is not defined."""
    return [float("nan") if row.wape is None else row.wape for row in rows]


def operations_text(result: PartResult) -> str:
    """Spikes, warnings and their cost in a sentence."""
    found = result.operational
    lead = "no lead time" if found.lead_minutes is None else f"median lead time {found.lead_minutes:g} min"
    return (
        f"{found.caught} of {found.spikes} rises of more than 20 % foreseen, {lead}; {found.scale_ups} minutes "
        f"asked for more capacity, {found.false_scale_ups} of them without need, "
        f"which adds {found.extra_share:.2%} node time."
    )


def _candidates_table(tested: Tested) -> Table:
    header = ("candidate", "WAPE", "standard error", "MAE", f"less {tested.best_naive}", "tie", "P90 covers")
    rows = [
        (
            name,
            figure(result.wape),
            figure(result.error),
            f"{result.mae:.4g}",
            f"{result.against_best_naive.difference:+.4f}",
            "yes" if result.against_best_naive.tie else "no",
            figure(result.horizons[-1].coverage_p90),
        )
        for name, result in sorted(tested.results.items(), key=lambda pair: pair[1].mae)
    ]
    return Table(header, tuple(rows))


def _horizon_table(rows: Iterable[HorizonMetrics]) -> Table:
    header = ("minutes", "WAPE", "MAE", "MAPE", "R2", "bias", "P90 covers", "samples")
    return Table(
        header,
        tuple(
            (
                str(row.minutes),
                figure(row.wape),
                f"{row.mae:.4g}",
                figure(row.mape),
                figure(row.r2),
                figure(row.bias),
                figure(row.coverage_p90),
                str(row.samples),
            )
            for row in rows
        ),
    )


def figure(value: float | None) -> str:
    """Four digits (none of them is -0.0000), or that it is not defined."""
    return "not defined" if value is None else f"{round(value, 4) + 0.0:.4f}"
