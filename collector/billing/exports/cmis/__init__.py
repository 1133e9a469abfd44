"""The hand-over to CMIS: its reading file (GCS, `Table1`) read and filled, or made new.

Pure but for the streams it is handed; it must not know where either side is kept.
"""
