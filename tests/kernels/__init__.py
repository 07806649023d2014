"""What other kernels are asked: device by device, in a guest or here. `boot` runs the tests in a guest."""
