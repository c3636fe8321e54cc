"""The kinds of models that are cross-validated: whatever lies in this folder is tried."""
