"""Random networks that move their examples about, each made from a seed."""
