"""The demo as a Hugging Face Space: the same page as `steersman demo`, for many visitors, saving nothing."""

import os
import sys

import steersman as sm
from steersman.web.desk import open_desk
from steersman.web.serving import serve

# A Space says where to listen; anywhere else the page stays on its own machine.
HOST = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1")
PORT = int(os.environ.get("GRADIO_SERVER_PORT") or 7860)
MODEL = os.environ.get("STEERSMAN_MODEL") or "default"


def tell(text: str) -> None:
    """Say a line in the Space's log."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    serve(open_desk(sm.load(MODEL)), host=HOST, port=PORT, ready=lambda address: tell(f"{address}\n"))
