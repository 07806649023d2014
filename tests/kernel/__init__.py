"""The programs in the kernel, packet by packet: loaded as the agent loads them, run by BPF_PROG_TEST_RUN."""
