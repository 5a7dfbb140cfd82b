"""What the page in Airflow shows, computed from the ledger, the planner and the cost reports. It writes nothing."""
