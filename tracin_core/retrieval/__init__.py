"""Finding proponents and opponents among stored vectors."""
