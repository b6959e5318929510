"""Every shape in a signature is checked while the tests run."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # no test needs a hub, and none waits for one

from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook(["shared", "toy", "real"], "beartype.beartype")
settings.register_profile("project", deadline=None, max_examples=50)
settings.load_profile("project")
