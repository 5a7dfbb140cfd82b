"""The page inside Airflow's UI: an app that Airflow's API server mounts, every route behind Airflow's own login."""
