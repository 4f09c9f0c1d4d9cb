"""Others' benchmarks on steered models: what lm-evaluation-harness and Inspect AI ask of a model, answered by ours."""
