"""Great Expectations suites, one a table, and what judges a table by them."""
