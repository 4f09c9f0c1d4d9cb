"""Samples: evaluation items from built-in sets, JSONL and CSV files, and data sets of the Hugging Face hub."""
