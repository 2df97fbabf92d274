"""What every notebook imports: device, data, settings, pictures, progress, record.

There is no model, no loss and no training loop in here: those are the lesson and stand in the notebooks.
"""

from common.data import DataError, Images, Text, batches, cifar10, mnist, shakespeare
from common.device import autocast, prepare, setup
from common.pictures import plot_curves, show, show_images
from common.progress import progress
from common.record import record
from common.settings import data_folder, mode, pick

__all__ = [
    "DataError",
    "Images",
    "Text",
    "autocast",
    "batches",
    "cifar10",
    "data_folder",
    "mnist",
    "mode",
    "pick",
    "plot_curves",
    "prepare",
    "progress",
    "record",
    "setup",
    "shakespeare",
    "show",
    "show_images",
]
