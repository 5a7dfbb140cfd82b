"""Who may see the page, and who may undo from it: Airflow's own rights, asked through its own dependencies."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends

# The page is about the week: who may see its runs may see the page. The id is fixed: without one, Airflow's dependency
# would take it from the query, and with it the right to choose what is asked.
PAGE_DAG, UNDO_DAG = "week14", "rollback"
may_see_page = requires_access_dag("GET", DagAccessEntity.RUN, PAGE_DAG)
may_see_run = requires_access_dag("GET", DagAccessEntity.RUN)  # of the DAG in the path
GUARD = Depends(may_see_page)


def seen_dags(user: GetUserDep) -> Callable[[str], bool]:
    """Whether the user may see the runs of a DAG, each DAG asked once: what :data:`may_see_run` says of one page."""

    @cache
    def may_see(dag_id: str) -> bool:
        details = DagDetails(id=dag_id, team_name=_team(dag_id))
        return get_auth_manager().is_authorized_dag(
            method="GET", access_entity=DagAccessEntity.RUN, details=details, user=user
        )

    return may_see


def may_undo(user: GetUserDep) -> bool:
    """Whether the user may trigger the rollback. The page only shows a button by it: Airflow's API decides."""
    details = DagDetails(id=UNDO_DAG, team_name=_team(UNDO_DAG))
    return get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user
    )


def _team(dag_id: str) -> str | None:
    from airflow.models.dag import DagModel

    return DagModel.get_team_name(dag_id)


def name_of(user: Any) -> str:
    """How the page calls the user."""
    return str(user.get_name())


SeenDags = Annotated[Callable[[str], bool], Depends(seen_dags)]
MayUndo = Annotated[bool, Depends(may_undo)]
User = GetUserDep
