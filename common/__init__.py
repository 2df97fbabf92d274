"""What every notebook imports: device and precision, data, settings, plots, record.

Models, losses and training loops are the lessons: they stand in the notebooks, not here.
"""

from common.data import batches, cifar10, data_folder, fetch, mnist, shakespeare
from common.device import autocast, mode, pick, setup, to_device
from common.muon import Muon
from common.plots import plot_curves, progress, show, show_images
from common.record import count_flops, record
