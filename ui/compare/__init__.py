"""The parts of Compare: attribution methods beside each other on the current run."""
