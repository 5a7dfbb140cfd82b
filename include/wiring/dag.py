"""Arguments of `@dag` for the engine's DAGs: their form, tags and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param, task
from airflow.sdk.exceptions import (
    AirflowFailException,
)

from include import levers
from include.estate import Estate, EstateError, load_estate
from include.rollout import rollback
from include.rollout.lever import acts_in
from include.rollout.place import ESTATE_WIDE
from include.rollout.settings import form_fields, rollout_settings
from include.wiring.conventions import DAG_DEFAULT_ARGS, Tag

if TYPE_CHECKING:
    pass


def rollout_arguments(
    lever: str, doc_md: str | None, tags: Sequence[Tag], estate: Estate | None = None
) -> dict[str, Any]:
    """Arguments of ``@dag`` for a rollout of ``lever``, but its schedule: one run at a time, params with bounds."""
    arguments: dict[str, Any] = {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": DAG_DEFAULT_ARGS,
        "doc_md": doc_md,
        "tags": [tag.value for tag in tags],
    }
    estate, _ = estate_or_problem(estate)
    if estate is not None:
        found = levers.lever(lever)
        models = (rollout_settings(acts_in(found)), found.settings_type)
        arguments["params"] = {k: v for model in models for k, v in params_from(model, estate).items()}
    return arguments


def rollback_arguments(doc_md: str | None, estate: Estate | None = None) -> dict[str, Any]:
    """Arguments of ``@dag`` for the rollback DAG, but its schedule."""
    arguments: dict[str, Any] = {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": DAG_DEFAULT_ARGS,
        "doc_md": doc_md,
        "tags": [Tag.OPERATIONS.value],
    }
    estate, _ = estate_or_problem(estate)
    # Not bound to the estate: what stands in a region that has left it must be undone too.
    regions: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    if estate is not None:
        regions["examples"] = [*estate.ordered_regions(), ESTATE_WIDE]
    reason = "Why; needed for an emergency, kept in the ledger"
    which = "Run id, or dag_id/run_id, to undo; empty for the last change of the lever, or all of everything"
    accept = "Close what remains, what others have changed and what is out of reach: it no longer counts as standing"
    arguments["params"] = {
        "lever": Param(
            rollback.EVERYTHING,
            type="string",
            enum=[rollback.EVERYTHING, *levers.LEVERS],
            description="What to undo",
        ),
        "regions": Param([], description="Places to undo it in; empty is wherever something stands", **regions),
        "run": Param("", type=["string", "null"], maxLength=300, description=which),
        "dry_run": Param(True, type="boolean", description="Only show what would be undone; nothing is written"),
        "emergency": Param(False, type="boolean", description="Skip the approval; the reason is required"),
        "accept": Param(False, type="boolean", description=accept),
        "reason": Param("", type=["string", "null"], maxLength=500, description=reason),
    }
    return arguments


def params_from(model: type[Any], estate: Estate) -> dict[str, Param]:
    """Airflow params for every field of a settings model, with its description, bounds and default."""
    fields = form_fields(model, estate)
    return {name: Param(schema.pop("default"), **_form(schema)) for name, schema in fields.items()}


def _form(schema: Mapping[str, Any]) -> dict[str, Any]:
    # Airflow's form offers a choice of several from "examples".
    items = schema.get("items", {})
    return {**schema, "examples": items["enum"]} if "enum" in items else dict(schema)


def estate_or_problem(estate: Estate | None) -> tuple[Estate | None, str]:
    """``estate``, else the estate's file; None and what is wrong when it can't be read."""
    try:
        return estate or load_estate(), ""
    except EstateError as error:
        return None, str(error)


def show_problem(message: str) -> None:
    """The only task of a DAG whose estate can't be read: it fails with what is wrong."""

    @task(retries=0, doc_md="The estate can't be read. Retrying can't help: correct the file that the message names.")
    def read_estate() -> None:
        raise AirflowFailException(message)

    read_estate()
