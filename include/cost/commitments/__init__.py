"""Reserved Instances and Savings Plans: what would be borne and what would be stranded."""
