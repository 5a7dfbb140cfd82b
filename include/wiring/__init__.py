"""All that touches Airflow besides each room's tasks.py: connections, conventions, and what DAGs are wired from."""
