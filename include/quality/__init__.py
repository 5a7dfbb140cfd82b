"""Great Expectations suites, one a table."""
