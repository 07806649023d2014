"""Where the agent touches the system: libbpf, netlink, sockets, clocks, files. No decisions are taken here."""
