"""What train examples are worth to groups of test examples, and who opposes many of them."""
