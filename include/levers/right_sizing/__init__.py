"""The right-sizing lever: requests that follow use, recommended by the VerticalPodAutoscaler and checked by a twin."""
