"""What helps a person decide: signals, evidence, suggested labels, and what the model is worth."""
