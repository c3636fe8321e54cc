"""What a clean-up is worth, on the screen: the rate of errors, when to stop, the learned order."""
