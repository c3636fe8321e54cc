"""The database: examples, decisions as events, the queue, history and export."""
