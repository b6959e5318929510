# Run this first: it finds the project above this notebook, or fetches it (on Colab).
import importlib.util
import subprocess
import sys
from pathlib import Path

REPO = ""  # the address of the project's git repository, needed only where the project is not on this machine

here = Path(globals().get("__vsc_ipynb_file__", "notebook.ipynb")).resolve().parent
root = next((folder for folder in (here, *here.parents) if (folder / "toy" / "law.py").exists()), None)
needed = ["torch", "numpy", "scipy", "einops", "jaxtyping", "matplotlib", "tqdm"]
missing = [name for name in needed if importlib.util.find_spec(name) is None]
if root is None:
    if not REPO:
        raise RuntimeError("no project above this notebook: set REPO in this cell to its git address, run it again")
    root = here / "spillover"  # beside this notebook
    if not root.exists():
        subprocess.run(["git", "clone", "--depth", "1", REPO, str(root)], check=True)
    if missing:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing], check=True)
elif missing:
    raise ModuleNotFoundError(
        f"missing: {', '.join(missing)}; open this notebook with the project's .venv (how: {root}/toy/README.md)"
    )
sys.path.insert(0, str(root))
