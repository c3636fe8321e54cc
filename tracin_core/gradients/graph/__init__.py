"""The autograd graph of a batch: whose row is whose, and parameters that no layer reads."""
