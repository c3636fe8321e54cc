"""Cross-validation: what models that have not seen an example say of its label.

Several kinds of models, fast ones, are fitted to parts of the train examples and asked about the
others. What they say is put together, stored with the run, and chooses the network that TracIn
looks into. Imports scikit-learn and, for some kinds, torch; so do its callers, inside functions.
"""
