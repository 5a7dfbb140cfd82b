"""Drills where nothing is in production: a fault by the interfaces that a real one comes by, watched and undone."""

from include.levers.game_day.lever import GameDay

__all__ = ["GameDay"]
