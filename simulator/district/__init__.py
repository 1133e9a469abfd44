"""A whole district: many stations, their customers' meters, and what happens to them.

Energies come from power flows, station by station; nothing here knows the metering system.
"""
