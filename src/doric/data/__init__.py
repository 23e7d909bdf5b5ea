"""The language data: tables, sentences and word lists that a speaker can correct, and the one place that reads them."""
