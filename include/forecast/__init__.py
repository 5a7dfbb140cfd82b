"""Traffic forecasts: series, features, candidates, evaluation, and the choice of a champion."""
