"""What the screens share: the frame, the session, galleries, charts and the decision form."""
