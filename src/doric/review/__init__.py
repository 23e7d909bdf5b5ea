"""Native speakers check the Doric on a page, and what they say changes the data."""
