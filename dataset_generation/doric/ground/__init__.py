"""Wing: what every run stands on, and what knows no Doric.

`files` (whole files), `lock` (a file that one run holds), `codec` (one JSON line), `document` (a JSON file that people
keep), `progress` (how far a run is), `terminal` (what a script says), `interrupts` (Ctrl-C, SIGTERM), `patience` (how
long to wait before a retry), `rota` (taking turns).
"""
