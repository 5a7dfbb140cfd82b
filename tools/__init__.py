"""Set-up and generators: what makes this checkout work and what writes its generated files."""
