"""The engine's only Airflow module: task groups that every rollout DAG and the rollback DAG are made of.

HOW A LEVER'S DAG USES IT (signature is fixed; body being written):

    '''What it does ... (docstring with the headings of conventions.DOC_HEADINGS)'''
    from airflow.sdk import dag
    from include.rollout.conventions import Tag
    from include.rollout.task_groups import rollout, rollout_arguments

    @dag(**rollout_arguments("spot_capacity", __doc__, tags=[Tag.ROLLOUT]))   # schedule, params, default_args ...
    def day1_spot() -> None:
        rollout("spot_capacity")          # rollout(lever_name, clients=None, estate=None) -> None

    day1_spot()

An invalid estate.yaml gives a DAG with one failing task that shows the message (both functions handle it).

WHAT THE ENGINE DOES FOR A LEVER
- include/levers/__init__.py registers "include.levers.spot_capacity:SpotCapacity" (class without constructor
  arguments). The module is imported at DAG parse: standard library, pydantic and include.* only at its top;
  boto3/kubernetes/requests never.
- ``lever.slots``: task groups per region are static, one per slot: <slot>.apply_stage, .await_soak, .judge_gates.
  A stage of the plan is put in its slot; slots without a stage are skipped. The interruption drill is best a slot of
  its own ("drill"): apply injects the notice and measures, observe returns the figures, gates judge them.
- ``lever.settings_type``: frozen pydantic model, extra="forbid"; each field with a description and bounds. A field
  named like one of estate.windows and declared without default (e.g. ``converge_timeout_seconds``,
  ``soak_seconds``, ``gate_window_seconds``) gets its default from there. Types that a form can show: bool, int, float, str, Literal, tuple of
  those. The engine's own params: regions, dry_run, reason, soak_seconds, gate_window_seconds, gate_wait_seconds
  (do not redefine others of these).
- ``target.clients`` is ``Clients(kubernetes=Cluster, prometheus=Prometheus, aws=Aws, leases=...)``.
- ``target.fence()`` raises Refused when the lock was taken over: call it before each write or batch of writes.
- preflight: the engine itself checks the change window/freeze days, connections, ledger and lock; the lever does not.
- observe may raise when a source is unreachable, or return None: the gate waits (rescheduling) up to
  gate_wait_seconds after the soak, then it is "unknown".
- evidence() is recorded with the snapshot (before), with the promotion and after a rollback (after).
- apply: Refused/NotConverged end the run (rolled back); anything else is retried twice.
"""
