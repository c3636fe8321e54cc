"""What helps a person decide: suggested labels, and more to come of the same kind."""
