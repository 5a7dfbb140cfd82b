"""The week: days 1 to 5 as runs of their own DAGs, their one approval, how they ended, and the gate of week 15.

Steps and decisions without Airflow; include/wiring makes tasks of them.
"""
