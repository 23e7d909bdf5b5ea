"""HTML pages of datasets and validation results, with charts. The pages need no network."""
