"""The page's routes. Every one depends on Airflow's login and on the right to see the week's runs; none writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, status
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

from include import overview
from include.estate import EstateError
from include.overview import render
from include.overview.changes import LeverState, lever_states
from include.overview.costs import CostCopy, CostDay, Costs
from include.overview.runs import records_of_run
from include.overview.style import STYLE
from include.overview.view import Problem, Sources, problems_of
from include.wiring.page.airflow_api import PendingDep
from include.wiring.page.live import the_reading
from include.wiring.page.reading import Reading, estate_name, ledger_of
from include.wiring.page.rights import GUARD, MayUndo, SeenDags, User, may_see_run, name_of

PREFIX = "/akidb"
LONGEST_QUERY = 200
SCRIPT = Path(overview.__file__).with_name("page.js")
# Nothing from elsewhere, nothing inline, and no frame but Airflow's own.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Text = Annotated[str, Query(max_length=LONGEST_QUERY)]
Name = Annotated[str, Query(max_length=300)]


def create_app(reading: Callable[[], Reading] = the_reading) -> FastAPI:
    """The app. Tests give their own ``reading``; there are no generated documents, which would have no guard."""
    app = FastAPI(title="AkiDB cost rollout", dependencies=[GUARD], openapi_url=None, docs_url=None, redoc_url=None)
    app.state.reading = reading
    routes: list[tuple[str, Callable[..., Any]]] = [
        ("/", show_overview),
        ("/runs", show_runs),
        ("/costs", show_costs),
        ("/costs/{day}", show_day),
        ("/undo", show_undo),
        ("/page.css", style_sheet),
        ("/page.js", script),
    ]
    for path, endpoint in routes:
        app.add_api_route(path, endpoint, methods=["GET"])
    # A run id may hold a slash; whoever may not see the DAG doesn't see its runs here either.
    app.add_api_route("/runs/{dag_id}/{run_id:path}", show_run, methods=["GET"], dependencies=[Depends(may_see_run)])
    app.add_exception_handler(AnyHTTPException, _refusal)
    app.add_exception_handler(EstateError, _no_estate)
    app.add_exception_handler(Exception, _defect)
    return app


def _reading(request: Request) -> Reading:
    found: Reading = request.app.state.reading()
    return found


ReadingDep = Annotated[Reading, Depends(_reading)]


def _frame(request: Request, user: User, undo: MayUndo) -> render.Frame:
    base = str(request.scope.get("root_path", ""))
    return render.Frame(base.removesuffix(PREFIX), base, estate_name(), name_of(user), undo)


FrameDep = Annotated[render.Frame, Depends(_frame)]


def _page(text: str, code: int = status.HTTP_200_OK) -> HTMLResponse:
    return HTMLResponse(text, code, HEADERS)


# --- The pages --------------------------------------------------------------------------------------------------------


def show_overview(reading: ReadingDep, pending: PendingDep, frame: FrameDep, may_see: SeenDags) -> Response:
    """The week at a glance."""
    return _page(render.overview_page(reading.overview(), pending, frame, may_see))


def show_runs(reading: ReadingDep, frame: FrameDep, may_see: SeenDags, q: Text = "") -> Response:
    """Every run of the DAGs that the user may see, or those with a record that holds every word of ``q``."""
    answer = reading.ledger.get(reading.patience)
    rows = [row for row in reading.search.runs(ledger_of(answer), q) if may_see(row.dag_id)]
    return _page(render.runs_page(rows, q, list(problems_of(Sources(ledger=answer))), frame))


def show_run(
    reading: ReadingDep,
    frame: FrameDep,
    dag_id: Annotated[str, InPath(max_length=250)],
    run_id: Annotated[str, InPath(max_length=250)],
    q: Text = "",
) -> Response:
    """The ledger of one run."""
    answer = reading.ledger.get(reading.patience)
    content = ledger_of(answer)
    row = next((row for row in reading.search.runs(content, "") if (row.dag_id, row.run_id) == (dag_id, run_id)), None)
    records = records_of_run(content, dag_id, run_id, q, reading.search)
    wrong = [Problem("ledger", answer.problem)] if answer.problem else []
    wrong += [Problem("this run", row.problem)] if row and row.problem else []
    return _page(render.run_page((dag_id, run_id), row, records, q, wrong, frame))


def show_costs(reading: ReadingDep, frame: FrameDep, day: Text = "") -> Response:
    """The days with a report; ``day`` leads to one of them."""
    if day:
        return RedirectResponse(f"{frame.base}/costs/{_date(day)}", status.HTTP_303_SEE_OTHER, HEADERS)
    answer = reading.costs.get(reading.patience)
    costs = answer.value[0] if answer.value else Costs()
    return _page(render.costs_page(costs, list(problems_of(Sources(costs=answer))), frame))


def show_day(reading: ReadingDep, frame: FrameDep, day: Annotated[str, InPath(max_length=20)]) -> Response:
    """The report of a day."""
    wanted = _date(day)
    answer = reading.costs.get(reading.patience)
    if answer.value is None:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, answer.problem)
    costs = answer.value[0]
    found = costs.on(wanted) or CostCopy(reading.open_variable("akidb_costs")).day(wanted)
    if not isinstance(found, CostDay):
        text = found or f"No report of {wanted} is kept: run cost_report for that day."
        raise HTTPException(status.HTTP_404_NOT_FOUND, text)
    return _page(render.day_page(found, costs, frame))


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"{text!r} is no day: write it as 2026-11-23") from None


def show_undo(reading: ReadingDep, frame: FrameDep, lever: Name, place: Name, run: Name = "") -> Response:
    """The form of the rollback, filled in for a change."""
    if not frame.may_undo:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "You need the right to trigger the DAG rollback.")
    content = ledger_of(reading.ledger.get(reading.patience))
    state = _stands(lever_states(content, [lever], [place]), place)
    return _page(render.undo_page(lever, place, run, state, frame))


def _stands(states: list[LeverState], place: str) -> LeverState | None:
    return next((state for state in states if state.place == place and state.stands), None)


def style_sheet() -> Response:
    """The pages' style."""
    return Response(STYLE, media_type="text/css", headers=HEADERS)


def script() -> Response:
    """The pages' script."""
    return Response(SCRIPT.read_text(), media_type="text/javascript", headers=HEADERS)


# --- What goes wrong --------------------------------------------------------------------------------------------------


def _refusal(request: Request, error: Exception) -> Response:
    """A refusal as a page for people, and as Airflow words it for programs."""
    assert isinstance(error, AnyHTTPException)
    if "text/html" not in request.headers.get("accept", ""):
        from fastapi.responses import JSONResponse

        return JSONResponse({"detail": error.detail}, error.status_code, {**HEADERS, **(error.headers or {})})
    titles = {401: "Not logged in", 403: "Not allowed", 404: "Not found", 503: "Not readable now"}
    airflow = str(request.scope.get("root_path", "")).removesuffix(PREFIX)
    text = render.message_page(
        titles.get(error.status_code, "Refused"), str(error.detail), f"{airflow}/", "Airflow's own pages"
    )
    return _page(text, error.status_code)


def _defect(_request: Request, error: Exception) -> Response:
    """What nobody expected, such as a record that another release wrote: the log has it whole."""
    text = f"{type(error).__name__} while the page was made: the API server's log says where."
    return _page(render.message_page("The page can't be shown", text), status.HTTP_500_INTERNAL_SERVER_ERROR)


def _no_estate(_request: Request, error: Exception) -> Response:
    return _page(render.message_page("The estate can't be read", str(error)), status.HTTP_503_SERVICE_UNAVAILABLE)
