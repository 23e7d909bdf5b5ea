"""What makes a text Doric: lexicon, words in context, scores, rendering, highlighting, lint of the data."""
