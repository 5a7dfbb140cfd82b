"""Notifiers by their dotted path: told, failing without harm, and refused by name where they are not there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.sdk import BaseNotifier

from include.estate import ESTATE_FILE, Estate, EstateError, load_estate
from include.notices import budget_passed
from include.wiring import deadlines
from include.wiring.notify import notice_checks, notify_of

HERE = "tests.dags.test_notify"
SAID = budget_passed("run_1", "spike {{ 7 * 7 }}", "nothing was changed")


class Kept(BaseNotifier):
    """Keeps what it is told."""

    template_fields = ("text",)
    told: ClassVar[list[str]] = []

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        self.told.append(self.text)


class Broken(BaseNotifier):
    """Its server is away, and its error holds a secret."""

    def notify(self, context: Any) -> None:
        raise ConnectionError("https://user:hunter2hunter2@example.org is away")


class Repeats(BaseNotifier):
    """Refuses an address, and repeats it."""

    def __init__(self, hooks: list[str]) -> None:
        raise ValueError(f"{hooks[0]} is no address")


def estate_with(*notices: dict[str, Any]) -> Estate:
    return Estate.model_validate(load_estate().model_dump(mode="json") | {"notices": list(notices)})


@pytest.fixture(autouse=True)
def _nothing_said() -> None:
    Kept.told.clear()


def test_everybody_who_wants_the_event_is_told_and_the_text_is_no_template() -> None:
    estate = estate_with(
        {"notifier": f"{HERE}.Kept", "arguments": {"text": "{message}"}},
        {"notifier": f"{HERE}.Kept", "events": ["rolled_back"], "arguments": {"text": "not wanted"}},
        {"notifier": f"{HERE}.Kept", "events": ["budget_passed"], "arguments": {"text": "{subject}"}},
    )
    assert notify_of(SAID, {}, estate) == []
    assert Kept.told == [SAID.message, "AkiDB spends more than its budget"]
    assert "{{ 7 * 7 }}" in Kept.told[0]


def test_a_notifier_that_fails_is_logged_without_its_text_and_keeps_nobody_else_from_being_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    estate = estate_with(
        {"notifier": f"{HERE}.Broken"}, {"notifier": "nowhere.Notifier"},
        {"notifier": f"{HERE}.Kept", "arguments": {"text": "{event}"}},
    )  # fmt: skip
    with caplog.at_level(logging.DEBUG, logger="include.wiring.notify"):  # at no level
        problems = notify_of(SAID, {}, estate)
    assert problems == [
        f"notices.0.notifier ({HERE}.Broken) could not tell of budget_passed: ConnectionError",
        "notices.1.notifier (nowhere.Notifier) could not tell of budget_passed: ModuleNotFoundError",
    ]
    assert Kept.told == ["budget_passed"]
    assert "hunter2" not in caplog.text
    assert problems[0] in caplog.text


def test_a_wrong_path_and_wrong_arguments_are_refused_by_their_field() -> None:
    estate = estate_with(
        {"notifier": f"{HERE}.Kept", "arguments": {"text": "{message}"}},
        {"notifier": f"{HERE}.Kpet"},
        {"notifier": "json.JSONDecoder"},
        {"notifier": f"{HERE}.Kept", "arguments": {"texts": ""}},
    )
    checks = notice_checks(estate)
    assert [check.passed for check in checks] == [True, False, False, False]
    assert checks[1].reason.startswith(f"notices.1.notifier (value '{HERE}.Kpet'): AttributeError: ")
    assert (
        checks[2].reason
        == "notices.2.notifier (value 'json.JSONDecoder'): TypeError: json.JSONDecoder is no Airflow notifier"
    )
    assert checks[3].reason.startswith(f"notices.3.notifier (value '{HERE}.Kept'): TypeError: ")
    assert checks[1].remedy == "correct it in the estate's file, or install the provider that has it"


def test_a_check_does_not_repeat_an_argument_that_an_error_repeats() -> None:
    (check,) = notice_checks(estate_with({"notifier": f"{HERE}.Repeats", "arguments": {"hooks": ["hook/T0/B0/abc"]}}))
    assert check.reason == f"notices.0.notifier (value '{HERE}.Repeats'): ValueError (its text repeats an argument)"


def test_an_estate_with_wrong_arguments_is_refused_without_showing_them(tmp_path: Path) -> None:
    path = tmp_path / "estate.yaml"
    notices = f"notices: [{{notifier: {HERE}.Kept, arguments: hook/T0/B0/abc}}]"
    path.write_text(ESTATE_FILE.read_text().replace("notices: []", notices))
    with pytest.raises(EstateError) as refusal:
        load_estate(path)
    assert str(refusal.value) == "estate.yaml: notices.0.arguments Input should be a valid dictionary"


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("airflow.providers.smtp.notifications.smtp.SmtpNotifier",
         {"to": "team@example.org", "subject": "{subject}", "html_content": "{html}"}),
        ("airflow.providers.http.notifications.http.HttpNotifier",
         {"http_conn_id": "notices", "json": {"text": "{message}"}}),
        ("airflow.providers.amazon.aws.notifications.sns.SnsNotifier",
         {"target_arn": "arn:aws:sns:us-east-1:1:akidb", "message": "{message}", "subject": "{subject}"}),
        ("airflow.providers.amazon.aws.notifications.ses.SesNotifier",
         {"mail_from": "a@example.org", "to": "b@example.org", "subject": "{subject}", "html_content": "{html}"}),
        ("airflow.providers.amazon.aws.notifications.chime.ChimeNotifier",
         {"chime_conn_id": "chime", "message": "{message}"}),
    ],
)  # fmt: skip
def test_the_notifiers_of_the_how_to_are_there_and_take_its_arguments(path: str, arguments: dict[str, Any]) -> None:
    (check,) = notice_checks(estate_with({"notifier": path, "arguments": arguments}))
    assert check.passed, check.reason


class TestDeadlines:
    """The callback of a missed deadline."""

    CONTEXT: ClassVar[dict[str, Any]] = {
        "dag_run": {"dag_id": "day1_spot", "dag_run_id": "manual__1"},
        "deadline": {"id": "d", "deadline_time": "2026-11-29T10:00:00+00:00"},
    }

    @pytest.fixture(autouse=True)
    def _world(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_VAR_AKIDB_LEDGER", str(tmp_path / "ledger"))
        told = estate_with({"notifier": f"{HERE}.Kept", "arguments": {"text": "{subject}: {message}"}})
        monkeypatch.setattr("include.wiring.notify.load_estate", lambda: told)

    @pytest.fixture
    def ended(self, monkeypatch: pytest.MonkeyPatch) -> list[bool | None]:
        answers: list[bool | None] = [False]
        monkeypatch.setattr(deadlines, "run_ended", lambda holder: answers[-1])
        return answers

    def test_a_run_that_is_still_going_is_told_of_once(self, airflow_database: None, ended: list[bool | None]) -> None:
        assert [deadlines.tell_missed(self.CONTEXT) for _ in range(2)] == [True, False]
        assert len(Kept.told) == 1
        assert Kept.told[0].startswith(
            "day1_spot is late: day1_spot (run manual__1) was due at 2026-11-29T10:00:00+00:00 and is still going."
        )

    def test_a_run_that_has_ended_by_then_is_left_alone(self, airflow_database: None, ended: list[bool | None]) -> None:
        ended.append(True)
        assert deadlines.tell_missed(self.CONTEXT) is False
        assert Kept.told == []

    def test_a_run_of_which_airflow_says_nothing_is_told_of_with_that(
        self, airflow_database: None, ended: list[bool | None]
    ) -> None:
        ended.append(None)
        assert deadlines.tell_missed(self.CONTEXT) is True
        assert "perhaps still going: Airflow's API gave no answer" in Kept.told[0]

    def test_the_plugins_callback_is_awaited_with_airflows_context(
        self, airflow_database: None, ended: list[bool | None]
    ) -> None:
        import asyncio
        import importlib.util

        path = Path(__file__).parents[2] / "plugins" / "deadline_callbacks.py"
        spec = importlib.util.spec_from_file_location("deadline_callbacks", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        asyncio.run(module.tell_of_missed_deadline(context=self.CONTEXT))
        assert len(Kept.told) == 1
        assert f"{path.stem}.{module.tell_of_missed_deadline.__name__}" == deadlines.CALLBACK

    def test_each_rollout_has_the_estates_deadline_from_its_queue_on(self) -> None:
        alert = deadlines.deadline_of(load_estate())
        assert alert is not None
        assert alert.interval.total_seconds() == 172800
        assert alert.reference.reference_name == "DagRunQueuedAtDeadline"
        assert alert.callback.path == deadlines.CALLBACK
        assert deadlines.deadline_of(None) is None

    def test_a_dag_with_a_deadline_is_one_version_however_often_it_is_parsed(self, airflow_database: None) -> None:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
        from airflow.models.dag_version import DagVersion
        from airflow.models.deadline_alert import DeadlineAlert
        from airflow.sdk import DAG
        from airflow.utils.session import create_session
        from sqlalchemy import func, select

        for _ in range(2):
            bag = DagBag("/nonexistent")
            bag.bag_dag(DAG("late_dag", schedule=None, deadline=deadlines.deadline_of(load_estate())))
            sync_bag_to_db(bag, "dags-folder", None)
        with create_session() as session:
            versions = select(func.count()).select_from(DagVersion).where(DagVersion.dag_id == "late_dag")
            assert session.scalar(versions) == 1
            assert session.scalar(select(func.count()).select_from(DeadlineAlert)) == 1
