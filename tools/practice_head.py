# Practice: a cell that waits for an item of yours says so in a sentence.
import os
import sys

from IPython import get_ipython

if os.path.isdir("../FOLDER"):  # the notebook's own folder, with what lies beside it
    os.chdir("../FOLDER")
    sys.path.insert(0, "")
waiting: list[str] = []


def explain(shell, kind, error, trace, tb_offset=None):
    if "your turn: " in str(error):
        waiting[:] = [str(error).split("your turn: ")[1]]
    if not waiting:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
        return
    missing = f" ({error})" if kind is NameError else ""
    print(f"This cell waits for {waiting[0]}{missing}. Write it, run its cell, go on.")


get_ipython().set_custom_exc((NotImplementedError, NameError), explain)
