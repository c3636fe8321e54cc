"""Attribution methods beside each other on one project: what each finds, agrees on, and costs."""
