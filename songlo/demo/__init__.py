"""The demo: a simulated station, a gateway, a broker and a collector, run as the real programs.

It starts, watches and asks; it computes nothing that the product itself is there to compute.
"""
