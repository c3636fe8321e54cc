"""Parts of the page that says what train examples are worth."""
