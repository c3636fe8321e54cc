"""Parts of the page that trains, scores and watches jobs."""
