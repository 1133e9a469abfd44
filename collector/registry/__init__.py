"""Stations, points, meters and which meter was installed where, when: values and their import.

It must not know SQL, HTTP or the clock.
"""
