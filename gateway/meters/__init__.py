"""What a meter model is and how its words become values: profiles, block plans, decoding.

Pure: no I/O, no clock. It must not know how words get here or where values go.
"""
