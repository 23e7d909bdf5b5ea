"""HTML pages that need no network: a dataset, a validation result, and the charts in them."""
