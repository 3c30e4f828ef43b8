# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Search a cell, retrain it, test it
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/nasjax/nasjax/blob/main/notebooks/search.ipynb)
#
# ZARTS-MGS searches the cell of a convolutional network on the 1,797 handwritten digits that ship with scikit-learn. The space is S4: every edge is noise or a separable convolution. The search takes a minute or two on two CPU cores. The last section runs the same search on your own data.

# %%
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

google = importlib.util.find_spec("google")
colab = google and importlib.util.find_spec("google.colab")
if colab and not importlib.util.find_spec("nasjax"):
    clone = ["git", "clone", "--depth=1", "https://github.com/nasjax/nasjax"]
    subprocess.run(clone, check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "./nasjax"]
    subprocess.run(install, check=True)
    os.chdir("nasjax/notebooks")

root = Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()
sys.path.insert(0, str(root))  # for configs/

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from sklearn.datasets import load_digits

import nasjax
from configs.zarts_mgs import get_config

runs = Path(os.environ.get("NASJAX_RUNS", root / "runs"))


def settings():
    """The default config; a tiny one if NASJAX_QUICK is set, which learns nothing."""
    config = get_config()
    if os.environ.get("NASJAX_QUICK"):
        config.space.primitives = ("skip_connect", "max_pool_3x3")
        config.search.update(channels=4, cells=3, epochs=2, warmup_epochs=1)
        config.retrain.update(channels=4, cells=3, epochs=2, random=0)
        config.arch.zarts_mgs.update(samples=2, inner_steps=1)
    return config


# %% [markdown]
# ## The search
#
# A config contains all settings; `nasjax/experiment/defaults.py` explains each field. A run is a folder. After an interruption run this cell again: the run resumes from the last checkpoint.

# %%
workdir = runs / "notebook-digits"
result = nasjax.run(settings(), workdir)

# %% [markdown]
# ## The cells found

# %%
display(Image(str(workdir / "cells.png")))

# %% [markdown]
# ## Alpha over time
#
# The plot shows the mixing weight of every operation, averaged over the edges of the normal cell. The run's plot `alpha.png` shows every edge.

# %%
lines = list(map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()))
moments = [line for line in lines if "mix" in line]
alpha = np.array([line["mix"]["normal"] for line in moments]).mean(1)
figure, axes = plt.subplots(figsize=(7, 4))
axes.plot([line["step"] for line in moments], alpha)
axes.set(xlabel="weight step", ylabel="mean mixing weight")
config = json.loads((workdir / "config.json").read_text())
axes.legend(config["space"]["primitives"], fontsize="small")
plt.show()

# %%
display(Image(str(workdir / "alpha.png")))

# %% [markdown]
# ## Test accuracy
#
# The test accuracy is measured after retraining from scratch; the test part is read once, at the end. Random architectures were retrained in the same way.

# %%
print(f"found:  {result['test_accuracy']:.2%} with {result['params']:,} parameters")
if result["random_test_accuracy"] is not None:
    print(f"random: {result['random_test_accuracy']:.2%}, the mean of three")

# %% [markdown]
# ## Your own data
#
# Your data is an `.npz` file with `image` and `label`, or a folder with one sub-folder of images for each class. This example uses a file with the digits 0, 1 and 2. nasjax infers size, channels and classes from the file.

# %%
digits = load_digits()
chosen = digits.target < 3
runs.mkdir(parents=True, exist_ok=True)
np.savez(
    runs / "own.npz", image=digits.images[chosen] / 16, label=digits.target[chosen]
)

config = settings()
config.data.path = str(runs / "own.npz")
own = nasjax.run(config, runs / "notebook-own")
print(f"test accuracy on own data: {own['test_accuracy']:.2%}")

# %%
display(Image(str(runs / "notebook-own" / "cells.png")))
