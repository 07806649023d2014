"""xflowd: counts every packet into flows in the kernel, exports them as NetFlow v5, v9 and IPFIX."""

__version__ = "0.1.0"
