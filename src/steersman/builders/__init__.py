"""Builders: from words, statements, items and files to the pairs and texts that a direction is fitted to.

Each is a pure function and knows of no model. What differs between the two sides names them:

* `persona_pairs`: the same statement, cut short, said by two opposite personas;
* `behaviour_pairs`: the same question, answered with the one option or with the other;
* `corpus`: texts of one kind, to be set against texts of another.

Pairs that say themselves what differs are read from files by `steersman.prompts.pairs`.
"""

from steersman.builders.behaviours import AnswerForm, behaviour_pairs
from steersman.builders.corpora import corpus
from steersman.builders.personas import PERSONA_TEMPLATES, persona_pairs, statements

__all__ = ["PERSONA_TEMPLATES", "AnswerForm", "behaviour_pairs", "corpus", "persona_pairs", "statements"]
