"""What a review is worth: how many errors are left, when to stop, and what it has gained."""
