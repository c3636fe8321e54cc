"""The database: projects, examples, runs, decisions as events, the queue, the history, jobs."""
