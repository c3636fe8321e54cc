"""A project's examples and the network that is fitted to them: trained here, or the person's own.

Nothing here imports torch before work that needs it begins.
"""
