"""An open model on rented GPUs as the writer of a dataset: the checks before it is paid for, its start and its stop."""
