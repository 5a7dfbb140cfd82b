"""The cost guard: one look at an hour's cost, and the mildest remedy for an expensive one."""
