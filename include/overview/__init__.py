"""What the page in Airflow's UI shows, computed from the ledger, the planner and the cost reports; it writes nothing."""
