"""Samples: evaluation items from built-in sets, files, folders and data sets of the Hugging Face hub.

A source is one of:

* the name of a built-in set;
* a file: JSON lines, a JSON array, CSV or TSV with a header, or one of MMLU's original CSV files, which have none;
* a folder of CSV files, as MMLU is distributed;
* `hub:owner/name`, optionally with a configuration and a split: `hub:cais/mmlu/all@test`.

Fields may be called as the well-known sets call them. An item's id is the record's own, else the file's name and the
line, so that it stays the same when lines are added behind it.
"""

from steersman.samples.items import behaviour_items, example_items, prompt_items, question_items, text_items

__all__ = ["behaviour_items", "example_items", "prompt_items", "question_items", "text_items"]
