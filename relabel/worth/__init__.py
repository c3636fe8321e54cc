"""What a clean-up is worth: how many labels are wrong, when to stop, what it gained."""
