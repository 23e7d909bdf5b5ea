"""Wing: what every run stands on, and what knows no Doric.

`files` (whole files), `codec` (one JSON line), `progress` (how far a run is), `interrupts` (Ctrl-C), `patience` (how
long to wait before a retry), `rota` (taking turns).
"""
