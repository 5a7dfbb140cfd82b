"""The rollout engine: levers, gates, ledger, lock and the task groups that every rollout DAG is made of."""
