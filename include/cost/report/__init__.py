"""The cost report of a day: computed, shown, published and revised."""
