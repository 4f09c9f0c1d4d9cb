"""The web demo: a local page on which a person steers, sees what steering does to every word, and makes directions.

What the page knows and decides stands in small modules that know nothing of Gradio: what can be steered with (`shelf`),
plans from sliders (`steering`), what each token looks like to the unsteered model (`following`), the conversation
(`talk`, `answering`, `transcript`), making a direction (`making`), finished reports (`reports`). Only `page`,
`handlers` and `serving` know Gradio, which the extra `demo` installs.
"""
