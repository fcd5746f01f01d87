"""The ground floor: errors, files that are whole or absent, tables, colours, progress, the command
line, and other tools that every room may use.

A tool lives here only if it knows neither tiles nor networks. It may not import any other room.
"""

import os

# Threads of OpenMP that wait sleep, and leave the core to others; read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
