"""Airflow's own REST API, asked in its own process and as the person who looks at the page."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
from fastapi import Depends, Request

from include.overview.approvals import Pending, pending_of
from include.wiring.page.mounted import AIRFLOW_APP

PASSED_ON = ("authorization", "cookie")
SECONDS = 5.0
REQUIRED_ACTIONS = "/api/v2/dags/~/dagRuns/~/hitlDetails"
MOST = 100


async def pending_approvals(request: Request) -> Pending:
    """The questions that wait for an answer and that the user may see."""
    try:
        answer = await _get(request, REQUIRED_ACTIONS, {"response_received": "false", "limit": str(MOST)})
    except (httpx.HTTPError, TimeoutError) as error:
        return Pending(problem=f"Airflow's API could not be asked what waits: {type(error).__name__}: {error}")
    if answer.status_code != httpx.codes.OK:
        return Pending(problem=f"Airflow's API answered {answer.status_code} when asked what waits for an answer")
    return pending_of(answer.json())


async def _get(request: Request, path: str, query: dict[str, str]) -> httpx.Response:
    headers = {name: value for name in PASSED_ON if (value := request.headers.get(name))}
    app: Any = request.scope[AIRFLOW_APP]
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow", timeout=SECONDS) as client:
        return await client.get(path, params=query, headers=headers)


PendingDep = Annotated[Pending, Depends(pending_approvals)]
