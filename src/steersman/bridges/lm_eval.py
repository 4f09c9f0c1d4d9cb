"""lm-evaluation-harness's own command line, with `--model steersman` among its models.

The harness knows its models by a registry in memory and looks for no plug-ins (0.4.13: neither an entry point nor an
option names a module to import), so that its bare command `lm_eval` cannot find ours. This one registers the model and
then hands every argument on: `steersman-lm-eval ...`, or `python -m steersman.bridges.lm_eval ...`.
"""

import sys

from steersman.errors import InputError, SteersmanError


def main() -> None:
    """Run the harness's command line; end with code 2 for bad input, 1 for steering that did not happen."""
    try:
        # Registers the model; raises where the harness is not installed, with the line that installs it.
        from lm_eval.__main__ import cli_evaluate

        import steersman.bridges.harness  # noqa: F401

        cli_evaluate()
    except SteersmanError as error:
        sys.stderr.write(f"steersman-lm-eval: {' '.join(str(error).splitlines())}\n")
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
