"""The fonts of printed papers, each in a folder with its licence; they have all of Vietnamese.

It holds files only.
"""
