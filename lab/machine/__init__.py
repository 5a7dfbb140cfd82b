"""This machine: its speed, the programs built for it, and the processes that run on it."""
