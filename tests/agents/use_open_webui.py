"""Open WebUI: not run. Its package cannot be had without PyTorch and CUDA's libraries, gigabytes of them."""
from program import CannotInstall

NAME = "Open WebUI"


def version():
    return "0.12.4"


def install():
    raise CannotInstall("it wants 261 packages, PyTorch with CUDA (18 of them) among them")


def turn(program, ask):
    raise NotImplementedError
