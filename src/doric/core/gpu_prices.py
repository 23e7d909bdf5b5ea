"""What a container of Modal costs, for the bounds that are printed before anything is paid.

US dollars per hour, from a third-party comparison that quotes Modal's price list (`A10` and `A10G`: from other
third-party tables of 2026). `uv run modal billing rates` prints today's prices; --rate has priority over this table.
"""

DATE = "7 May 2026"
GPUS = {"T4": 0.59, "L4": 0.80, "A10": 1.10, "A10G": 1.10, "L40S": 1.95, "A100-80GB": 2.50, "H100": 3.95}
"""One GPU of a type."""
CORE, GIB = 0.047, 0.008
"""One CPU core, and one GiB of memory."""
