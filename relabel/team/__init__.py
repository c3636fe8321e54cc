"""A team on one project: how far its answers agree, who has done what, what is to be settled."""
