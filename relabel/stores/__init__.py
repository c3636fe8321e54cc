"""Finished runs in a store: an object store or a file share that several machines reach by a URL.

A file of a run lies there as parts, each whole or absent; the list of all parts is written last and
makes the run visible. What is read is checked by digest and kept in a cache of bounded size.
"""
