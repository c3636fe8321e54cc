"""Parts of the page of projects: list, import, restoration."""
