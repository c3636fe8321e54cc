"""Programs around the app: installing, serving it for tests, taking screenshots."""
