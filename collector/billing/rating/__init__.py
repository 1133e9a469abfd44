"""From determinants to a bill preview: tariffs as dated data, and the arithmetic of prices.

Pure functions over values; it must not open a file, read a clock, nor know where determinants
come from. Energies are whole kWh (kvarh), money is whole đồng, and nothing is ever a float.
"""
