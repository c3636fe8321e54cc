"""Built-in networks of one file each: whatever lies in this folder is offered.

A file registers its configuration with ``register_network`` and imports torch inside the function
that makes the network, because the list of networks is read without torch.
"""
